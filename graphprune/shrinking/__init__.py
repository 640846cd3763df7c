"""From a plan to small tensors: masks, sizes baked into calls, and the way back."""
