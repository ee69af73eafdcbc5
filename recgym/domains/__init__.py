"""The three domains, each a composition of the models."""
