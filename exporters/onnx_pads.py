"""Padding before a maximum, written so that onnxruntime does not mistake the padding for nothing.

onnxruntime (1.31) merges a Pad with a MaxPool behind it into the pool's own padding, which never is
the maximum; a zero that was padded is, where all values are negative. It leaves a Pad that names
its axes, and all of them say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnxscript import ir

_AXES_SINCE = 18
"""First operator set in which Pad takes its axes."""


def keep_pads_apart(model: ir.Model) -> None:
    """Name the axes of every Pad that a MaxPool reads, in place."""
    from onnxscript import ir  # only now: it takes a second

    if model.opset_imports.get("", 0) < _AXES_SINCE:
        return
    for node in list(model.graph):
        if node.op_type != "Pad" or len(node.inputs) > 3:
            continue
        read_by = [user.op_type for value in node.outputs for user, _ in value.uses()]
        data = node.inputs[0]
        if "MaxPool" not in read_by or data is None or data.shape is None:
            continue
        name = f"{node.outputs[0].name}_axes"
        axes = ir.tensor(np.arange(len(data.shape), dtype=np.int64), name=name)
        value = ir.Value(name=name, const_value=axes)
        model.graph.register_initializer(value)
        node.resize_inputs(4)
        node.replace_input_with(3, value)
