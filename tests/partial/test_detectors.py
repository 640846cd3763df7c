"""torchvision's detectors: captured in parts, put back, proved."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectors import NAMES, detector, images

from graphprune import compress
from graphprune.partial.result import PartialCompressed

# Backbones are most of a detector, and half of the channels leaves about 30 % of a plain one.
_EXPECTED = {
    "FasterRCNN": {"backbone", "rpn.head", "roi_heads.box_head"},
    "RetinaNet": {"backbone", "head"},
    "FCOS": {"backbone", "head"},
    "SSD": {"backbone"},
    "SSDlite": {"backbone"},
    "MaskRCNN": {
        "backbone",
        "rpn.head",
        "roi_heads.box_head",
        "roi_heads.mask_head",
        "roi_heads.mask_predictor",
    },
    "KeypointRCNN": {"backbone", "rpn.head", "roi_heads.box_head", "roi_heads.keypoint_head"},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_is_pruned_and_stays_a_detector(name: str, torchvision_models: Any) -> None:
    model = detector(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    result = compress(model, (images(),), method="l2", target="channels=0.5")
    assert isinstance(result, PartialCompressed)
    assert set(result.parts) == _EXPECTED[name]
    assert all(placed.how == "class" for placed in result.parts.values())
    assert result.certificate.passed
    assert result.whole.outside_error <= result.certificate.limit
    assert result.whole.calls == 3 * len(result.parts)
    assert not result.whole.unchecked
    assert result.report.reached["params"] < 0.6
    assert type(result.model) is type(model)
    # Other image sizes than those that were captured, and another number of images.
    with torch.no_grad():
        (found,) = result.model([torch.rand(3, 90, 210)])
        (dense,) = model([torch.rand(3, 90, 210)])
    assert {k: v.shape[1:] for k, v in found.items()} == {k: v.shape[1:] for k, v in dense.items()}
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
