"""Models that cannot be captured whole: their largest capturable submodules are compressed."""
