"""Small networks as people write them, one theme a module: each has ``MODELS``, builders by name.

A builder takes nothing and gives a model with random weights and inputs as
:func:`graphprune.compress` takes them: fewer than two million parameters, and fast.
"""
