"""Criteria: importance of channels without any training."""
