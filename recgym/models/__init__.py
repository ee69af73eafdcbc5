"""The model families of a World, one a file."""
