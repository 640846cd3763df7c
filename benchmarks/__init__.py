"""Measurements on real data: baselines, compression tables, overheads. Not part of the package."""
