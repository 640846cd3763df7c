"""Seeds are refused where they are given, by one rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphprune import CompressConfig
from graphprune.errors import UsageError
from graphprune.importance.learn import LearnConfig
from graphprune.io import DataOptions
from graphprune.seeds import LARGEST, check_seed
from graphprune.training.finetune import FinetuneConfig


@pytest.mark.parametrize("kind", [CompressConfig, LearnConfig, FinetuneConfig, DataOptions])
@pytest.mark.parametrize("seed", [-1, LARGEST + 1, 0.5, "7", True])
def test_what_is_no_seed_is_refused(kind: Any, seed: object) -> None:
    with pytest.raises(UsageError, match=r"seed is .*; give a whole number from 0 to"):
        kind(seed=seed)


def test_every_seed_of_the_rule_is_taken() -> None:
    for seed in (0, 1, LARGEST, np.int64(3)):
        check_seed(seed)
        assert LearnConfig(seed=seed).seed == seed
