"""Channel groups: constraints of the labels solved, and what goes with what."""
