"""Reading what the user gives: models, example inputs, data and losses."""

from __future__ import annotations

from graphprune.io.modelfile import LoadedModel, load_model

__all__ = ["LoadedModel", "load_model"]
