"""Which channels stay: a target, an order of removal, and the plan that comes of them."""
