"""Search: many allocations of one budget tried, and the best kept."""
