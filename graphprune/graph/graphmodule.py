"""A torch.fx.GraphModule of ATen ops that can be trained like the model it came from."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import fx, nn

from graphprune.graph.input_sizes import require_sizes


class TrainableGraphModule(fx.GraphModule):
    """GraphModule whose ``train()`` and ``eval()`` reach the flags baked into its ATen calls.

    Exported graphs hold the training flag of batch norm and dropout as a constant argument, so the
    plain ``GraphModule.train`` would change nothing. Here it runs the ``set-mode`` pass, whose
    documentation names what an export has lost.

    It runs at the sizes that it was captured for (:mod:`graphprune.graph.input_sizes`) and refuses
    others, where it might compute something else than the model.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph.

        Raises:
            DataError: an input has sizes that the graph is not for.
        """
        if not torch.compiler.is_compiling():  # which has guards of its own
            require_sizes(self, args, kwargs)
        return super().__call__(*args, **kwargs)

    def train(self, mode: bool = True) -> TrainableGraphModule:
        """Set training (``mode=True``) or evaluation behaviour of the whole graph."""
        from graphprune.passes.set_mode import SetMode  # the pass itself builds on GraphModule

        # Before the attribute changes: by it the pass tells the flags that the model itself fixes.
        SetMode(training=mode)(self)
        super().train(mode)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainableGraphModule:
        with warnings.catch_warnings():
            # torch copies the input and output specs, whose class warns of its own deprecation.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            copied = super().__deepcopy__(memo)
        assert isinstance(copied, TrainableGraphModule)
        # GraphModule's copy drops tensors that no node uses (num_batches_tracked in evaluation
        # mode), saves every buffer and flattens containers; ``memo`` holds the faithful copies.
        copied._modules = copy.deepcopy(self._modules, memo)
        copied._parameters = copy.deepcopy(self._parameters, memo)
        copied._buffers = copy.deepcopy(self._buffers, memo)
        copied._non_persistent_buffers_set = set(self._non_persistent_buffers_set)
        copied.training = self.training
        return copied


def frozen(module: TrainableGraphModule) -> TrainableGraphModule:
    """A copy that shares the module's weights (same memory), none requiring a gradient.

    Buffers and the graph are copied. The copy can be rewritten, moved and run without the module
    changing; only writing into its weights would be seen there. (A method would take a name that
    a model may have for a part of its own.)
    """
    shared: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()
    }
    return copy.deepcopy(module, shared)


def to_evaluation(model: nn.Module) -> bool:
    """Call ``model.eval()``; False where a part refuses it, as a module of torch.export's does."""
    try:
        model.eval()
    except NotImplementedError:
        return False
    return True
