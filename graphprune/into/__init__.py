"""A plan applied to the user's own class, in place, and proved there."""
