"""Ways out of graphprune, one a file. They are found through the registry, by name."""
