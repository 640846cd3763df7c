"""Plain PyTorch models; ``build(name)`` makes one ready for a test, ``NAMES`` lists them."""

from benchmarks.models.zoo import ZOO, build

NAMES = tuple(ZOO)

__all__ = ["NAMES", "build"]
