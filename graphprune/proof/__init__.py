"""The proof that a small model is the masked original, in PyTorch, in ONNX and reloaded."""
