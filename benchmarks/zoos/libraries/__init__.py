"""Networks of other libraries, one file for each library, of the same name as its package.

A file imports its library at the top and names its models in ``MODELS``: what builds each, as a
function without arguments that returns the model and its inputs. Versions: ``requirements.txt``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

Builder = Callable[[], tuple[nn.Module, Any]]
"""What builds a model in evaluation mode, and inputs for it."""
