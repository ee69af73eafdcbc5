"""The three domains: each is a World made of the models."""
