"""A torch.fx.GraphModule of ATen ops that can be trained like the model it came from."""

from __future__ import annotations

from typing import Any

from torch import fx


class TrainableGraphModule(fx.GraphModule):
    """GraphModule whose ``train()`` and ``eval()`` reach the flags baked into its ATen calls.

    Exported graphs hold the training flag of batch norm and dropout as a constant argument, so the
    plain ``GraphModule.train`` would change nothing. Here it runs the ``set-mode`` pass.
    """

    def train(self, mode: bool = True) -> TrainableGraphModule:
        """Set training (``mode=True``) or evaluation behaviour of the whole graph."""
        from graphprune.passes.set_mode import SetMode  # the pass itself builds on GraphModule

        changed = self.training != mode
        super().train(mode)
        if changed:
            SetMode(training=mode)(self)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainableGraphModule:
        copied = super().__deepcopy__(memo)
        copied.training = self.training
        return copied
