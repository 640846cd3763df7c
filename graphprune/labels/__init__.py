"""Labels: which removable channel each element of each tensor belongs to."""
