"""The model zoo: complete, alive, repeatable, and fitting the real weights."""

from __future__ import annotations

import functools
import importlib.util

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.data import data_dir
from benchmarks.models import NAMES, build
from benchmarks.models.randomise import randomise
from benchmarks.models.resnet_cifar import CifarResNet, resnet20, resnet56
from benchmarks.models.vgg import Vgg16Bn
from benchmarks.models.wide_resnet import WideResNet

# As published, or counted by hand from the layer sizes.
PARAMETERS = {
    "lenet5": 431_080,
    "vgg16_bn": 14_991_946,
    "resnet20": 269_722,
    "resnet56": 853_018,
    "wide_resnet28_10": 36_479_194,
    "vit": 48_634,
    "vit_unfused": 48_634,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "densenet121": 7_978_856,
    "resnext50_32x4d": 25_028_904,
}
OF_TORCHVISION = {"resnet50", "mobilenet_v2", "densenet121", "resnext50_32x4d"}
build_once = functools.cache(build)


def test_every_model_has_a_known_size() -> None:
    assert set(NAMES) == set(PARAMETERS)


@pytest.mark.parametrize("name", NAMES)
def test_model_is_complete_and_alive(name: str) -> None:
    if name in OF_TORCHVISION and importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    model, (example,) = build_once(name)
    assert not any(module.training for module in model.modules())
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    for key, parameter in model.named_parameters():
        assert parameter.numel() == 1 or parameter.std() > 1e-4, f"{key} is constant"
    with torch.no_grad():
        scores = model(example)
    assert scores.shape == (2, 1000 if name in OF_TORCHVISION else 10)
    assert 1e-2 < scores.std() < 1e3
    # The scores must depend on the input, not on biases alone.
    assert (scores[0] - scores[1]).abs().max() > 0.1 * scores.abs().max()


def test_same_seed_same_model_and_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    (first, (example,)), (second, (again,)) = build("resnet20"), build("resnet20")
    other, _ = build("resnet20", seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(example, again)
    assert torch.equal(first(example), second(example))
    assert not torch.equal(first(example), other(example))


def test_attention_fused_or_not_computes_the_same() -> None:
    fused, (example,) = build("vit")
    unfused, _ = build("vit_unfused")
    torch.testing.assert_close(fused(example), unfused(example))


def test_unknown_name() -> None:
    with pytest.raises(KeyError, match="resnet1"):
        build("resnet1")


def test_wide_resnet_refuses_a_depth_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="not 27"):
        WideResNet(depth=27)


def test_randomise_replaces_zeros_and_constants_and_keeps_the_rest() -> None:
    class Traps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(6)
            self.linear = nn.Linear(6, 3)
            self.token = nn.Parameter(torch.zeros(4))
            self.scale = nn.Parameter(torch.full((5,), 1e-6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.norm(x))

    model = Traps()
    weight = model.linear.weight.clone()
    assert randomise(model, torch.randn(16, 6) + 5) is model
    assert torch.equal(model.linear.weight, weight)
    for tensor in (model.norm.weight, model.norm.bias, model.token, model.scale):
        assert tensor.std() > 1e-3
    # Statistics are those of the inputs, moved a little; the momentum is as it was.
    assert ((model.norm.running_mean - 5).abs() < 1.5).all()
    assert model.norm.running_mean.unique().numel() == 6
    assert model.norm.momentum == 0.1


def test_a_fresh_network_would_be_nearly_blind() -> None:
    """Why randomise calibrates: without it VGG's output hardly depends on its input."""
    torch.manual_seed(0)
    fresh = Vgg16Bn().eval()
    with torch.no_grad():
        first, second = fresh(torch.randn(2, 3, 32, 32))
    assert (first - second).abs().max() < 1e-3 * first.abs().max()


@pytest.mark.parametrize(("name", "make"), [("resnet20", resnet20), ("resnet56", resnet56)])
def test_pretrained_weights_fit(name: str, make: type[CifarResNet]) -> None:
    path = data_dir() / f"{name}_cifar10.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is not at hand (GRAPHPRUNE_DATA)")
    keys = make().load_state_dict(load_file(path), strict=False)
    assert not keys.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in keys.missing_keys)
