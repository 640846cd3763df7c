"""Reading what the user gives: models, example inputs, data and losses."""

from __future__ import annotations

from graphprune.io.anydata import as_data
from graphprune.io.data import DataBundle, DataOptions, check_data_fits
from graphprune.io.datafiles import load_data
from graphprune.io.examples import Batch
from graphprune.io.inputs import check_finite, check_inputs_fit, parse_input_shapes
from graphprune.io.loss import Loss, check_labels, cross_entropy, default_loss, load_loss, reproduce
from graphprune.io.modelfile import LoadedModel, load_model

__all__ = [
    "Batch",
    "DataBundle",
    "DataOptions",
    "LoadedModel",
    "Loss",
    "as_data",
    "check_data_fits",
    "check_finite",
    "check_inputs_fit",
    "check_labels",
    "cross_entropy",
    "default_loss",
    "load_data",
    "load_loss",
    "load_model",
    "parse_input_shapes",
    "reproduce",
]
