"""The literature's environments, as compositions of the same parts."""
