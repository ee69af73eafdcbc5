"""Environments of the literature: each is a World made of the same models."""
