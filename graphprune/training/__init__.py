"""Training: fine-tuning, its objective and data, and judging what came of it."""
