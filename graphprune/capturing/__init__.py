"""Capture: the user's model becomes a torch.fx graph of ATen operators."""
