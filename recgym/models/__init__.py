"""The families of models that a World is made of, one module or package for each."""
