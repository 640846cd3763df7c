"""Importance switches: learned vectors that scale the channels of a group."""
