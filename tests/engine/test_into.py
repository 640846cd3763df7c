"""A plan applied to the user's own module: tensors, attributes and outputs, or nothing at all."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from benchmarks.models.lenet import LeNet5
from benchmarks.models.randomise import randomise
from graphprune.compress import CompressConfig, Compressed, compress
from graphprune.errors import UsageError
from graphprune.finetune import FinetuneConfig
from graphprune.into import apply

IMAGES = torch.Size((3, 32, 32))


class Twin(nn.Module):
    """Layers of 12 to 12 channels, the two sides of which lose unlike numbers of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.GroupNorm(3, 12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.second = nn.Conv2d(12, 12, 1)
        self.up = nn.ConvTranspose2d(12, 12, 2, stride=2)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(F.relu(self.norm(self.first(x))))
        return self.head(F.relu(self.up(F.relu(self.second(x)))).mean((2, 3)))


class Attention(nn.Module):
    """Attention with its sizes in attributes; ``fused`` leaves the scale to PyTorch."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.inner_dim = heads, width // heads, width
        self.depth = 4  # what it stands for is not the number of heads, though it is as large
        self.scale = self.head_dim**-0.5
        self.fused = fused
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        for _ in range(self.depth // 4):
            y = y * 1.25
        return self.out(y.transpose(1, 2).reshape(batch, length, self.inner_dim))


class Tokens(nn.Module):
    """A stem, two blocks of attention and a head tied to nothing."""

    def __init__(self, *, heads: int = 4, fused: bool = False) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.blocks = nn.ModuleList(Attention(32, heads, fused) for _ in range(2))
        self.head = nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.head(x.mean(1))


class HardCoded(nn.Module):
    """A size in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(F.relu(self.conv(x)), 4)
        return self.fc(x.view(-1, 128))


class Tied(nn.Module):
    """One matrix under two names, and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 16)
        self.one, self.two = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.two.weight = self.one.weight
        self.head = nn.Linear(16, 3)
        self.head.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.up(x))
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


def shrunk(model: nn.Module, inputs: Any, **config: Any) -> Compressed:
    """``model`` at half of its channels; the model itself stays."""
    settings = CompressConfig(**config)
    return compress(model.eval(), inputs, target="channels=0.5", method="l2", config=settings)


def image_model(model: nn.Module) -> nn.Module:
    """With weights that hide nothing."""
    return randomise(model, torch.randn(8, *IMAGES))


def count(model: nn.Module) -> int:
    """Trainable values."""
    return sum(p.numel() for p in model.parameters())


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that ``into`` may touch, to be compared bit by bit."""
    plain = {
        f"{path}.{key}": value
        for path, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | str | tuple | list | bool)
    }
    tensors = {k: (id(v), v.detach().clone()) for k, v in model.state_dict(keep_vars=True).items()}
    return {"plain": plain, "tensors": tensors}


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before["plain"] == after["plain"]
    assert before["tensors"].keys() == after["tensors"].keys()
    for name, (identity, value) in before["tensors"].items():
        assert after["tensors"][name][0] == identity, name
        assert torch.equal(after["tensors"][name][1], value), name


def assert_into(model: nn.Module, inputs: Any, *, plain: bool = True, **config: Any) -> nn.Module:
    """Shrink a copy of ``model`` in place and judge it by outputs, sizes and a training step."""
    result = shrunk(model, inputs, **config)
    own = copy.deepcopy(model)
    result.into(own)
    assert count(own) == count(result.model) < count(model)
    own.eval()
    for size in (2, 3):
        fresh = torch.randn(size, *inputs.shape[1:]) if inputs.is_floating_point() else inputs
        with torch.no_grad():
            actual, expected = own(fresh), result.model(fresh)
        actual, expected = (getattr(o, "last_hidden_state", o) for o in (actual, expected))
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        assert actual.std() > 0
    small = result.model.state_dict()
    for name, value in own.state_dict().items():
        if name in small:
            assert value.shape == small[name].shape, name
            assert not plain or torch.equal(value, small[name]), name
    assert_attributes_fit(own)
    return own


def assert_attributes_fit(model: nn.Module) -> None:
    for name, part in model.named_modules():
        if isinstance(part, nn.Conv2d):
            assert part.weight.shape[0] == part.out_channels, name
            assert part.weight.shape[1] * part.groups == part.in_channels, name
        elif isinstance(part, nn.ConvTranspose2d):
            assert part.weight.shape[:2] == (part.in_channels, part.out_channels), name
        elif isinstance(part, nn.Linear):
            assert part.weight.shape == (part.out_features, part.in_features), name
        elif isinstance(part, nn.BatchNorm2d):
            assert part.weight.numel() == part.num_features, name
        elif isinstance(part, nn.GroupNorm):
            assert part.weight.numel() == part.num_channels, name
        elif isinstance(part, nn.LayerNorm):
            assert tuple(part.weight.shape) == part.normalized_shape, name
        elif isinstance(part, nn.Embedding):
            assert tuple(part.weight.shape) == (part.num_embeddings, part.embedding_dim), name


def test_attributes_of_layers_whose_sides_are_alike() -> None:
    own = assert_into(image_model(Twin()), torch.randn(2, *IMAGES))
    assert own.get_submodule("depthwise").groups == own.get_submodule("first").out_channels  # type: ignore[union-attr]


def test_lenet_trains_on() -> None:
    own = assert_into(LeNet5(), torch.randn(2, 1, 28, 28)).train()
    before = [p.detach().clone() for p in own.parameters()]
    optimiser = torch.optim.SGD(own.parameters(), lr=0.1)
    F.cross_entropy(own(torch.randn(8, 1, 28, 28)), torch.arange(8)).backward()
    optimiser.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, own.parameters(), strict=True))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("heads", ["whole", "inside"])
def test_attention_follows_by_its_attributes(heads: str, fused: bool) -> None:
    model = Tokens(fused=fused)
    own = assert_into(model, torch.randn(2, 7, 6), heads=heads, plain=False)
    for block in own.blocks:  # type: ignore[union-attr]
        assert block.inner_dim == block.num_heads * block.head_dim < 32
        assert block.depth == 4
        assert block.scale == 8**-0.5
        assert (block.num_heads < 4, block.head_dim < 8) == (heads == "whole", heads == "inside")


def test_number_of_heads_that_equals_the_number_of_parts() -> None:
    own = assert_into(Tokens(heads=8), torch.randn(2, 7, 6), heads="whole")
    assert all(block.num_heads == 4 for block in own.blocks)  # type: ignore[union-attr]


def test_default_scale_is_made_up_for_in_the_weights() -> None:
    model = Tokens(fused=True).eval()
    result = shrunk(model, torch.randn(2, 7, 6), heads="inside")
    result.into(model)
    for number, block in enumerate(model.blocks):
        kept = result.model.get_parameter(f"blocks.{number}.qkv.weight")
        rows = block.num_heads * block.head_dim
        factor = math.sqrt(block.head_dim / 8)
        torch.testing.assert_close(block.qkv.weight[:rows], kept[:rows] * factor)
        assert torch.equal(block.qkv.weight[rows:], kept[rows:])


def test_hard_coded_size_names_the_line_and_leaves_the_model_alone() -> None:
    model = image_model(HardCoded()).train()
    result = shrunk(copy.deepcopy(model), torch.randn(2, *IMAGES))
    before = state(model)
    with pytest.raises(UsageError, match=r"HardCoded.*x\.view\(-1, 128\)") as caught:
        result.into(model)
    assert "\n" not in str(caught.value)
    assert model.training
    assert_same_state(before, state(model))


class Halves(nn.Module):
    """Two parts, as wide as each other by the code, of which one matters more by the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 1)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.conv.weight[:8] *= 0.01

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.conv(x).tanh().chunk(2, dim=1)
        return self.left(left) + self.right(right)


def test_parts_that_are_no_longer_halves() -> None:
    model = Halves()
    result = shrunk(copy.deepcopy(model), torch.randn(2, 3, 4, 4))
    before = state(model)
    with pytest.raises(UsageError, match=r"Halves: .*chunk\(2, dim=1\)"):
        result.into(model)
    assert_same_state(before, state(model))


class Doubling(HardCoded):
    """The same tensors, other values; its sizes are free."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(F.relu(self.conv(x)), 4)
        return 2 * self.fc(x.flatten(1))


class Single(Doubling):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2


def test_other_values_are_refused() -> None:
    result = shrunk(image_model(Single()), torch.randn(2, *IMAGES))
    other = image_model(Doubling())
    before = state(other)
    with pytest.raises(UsageError, match="Doubling: its forward gives other values"):
        result.into(other)
    assert_same_state(before, state(other))
    result.into(image_model(Single()))  # any weights: the result brings its own


def test_other_tensors_are_refused() -> None:
    result = shrunk(image_model(Single()), torch.randn(2, *IMAGES))
    wide = Single()
    wide.fc = nn.Linear(128, 6)
    with pytest.raises(UsageError, match=r"fc\.weight of the model is \(6, 128\)"):
        result.into(wide)
    lacking = Single()
    del lacking.conv
    with pytest.raises(UsageError, match=r"the model has no conv\."):
        result.into(lacking)
    more = Single()
    more.more = nn.Linear(1, 1)
    with pytest.raises(UsageError, match=r"the model has more\."):
        result.into(more)
    twice = image_model(Single())
    result.into(twice)
    with pytest.raises(UsageError, match="as it was before compression"):
        result.into(twice)


class Broken(Single):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not today")


def test_a_model_that_does_not_run_is_refused() -> None:
    result = shrunk(image_model(Single()), torch.randn(2, *IMAGES))
    with pytest.raises(UsageError, match=r"Broken does not run .*not today"):
        result.into(Broken())


def test_an_interruption_leaves_the_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = image_model(Single())
    result = shrunk(copy.deepcopy(model), torch.randn(2, *IMAGES))
    before = state(model)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        result.into(model)
    monkeypatch.undo()
    assert_same_state(before, state(model))


def test_ties_gradients_and_modes() -> None:
    model = Tied()
    inputs = torch.randn(2, 6)
    result = shrunk(copy.deepcopy(model), inputs)
    model(inputs).sum().backward()
    model.one.eval()
    result.into(model)
    assert model.one.weight is model.two.weight
    assert model.one.weight.shape == (8, 8)
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, False, True]
    assert all(p.grad is None for p in model.parameters())
    assert (model.training, model.one.training, model.two.training) == (True, False, True)


def test_parametrized_weights() -> None:
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    parametrizations.weight_norm(model[0])
    own = copy.deepcopy(model).eval()
    result = shrunk(model, torch.randn(2, 6))
    result.into(own)
    inputs = torch.randn(5, 6)
    torch.testing.assert_close(own(inputs), result.model(inputs))
    assert own.get_submodule("0").weight.shape == (8, 6)  # type: ignore[union-attr]


def test_fine_tuned_values_are_taken() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    data = (torch.randn(64, 6), torch.randint(0, 3, (64,)))
    config = CompressConfig(finetune=FinetuneConfig(lr=0.05), batch_size=16, evaluate=False)
    result = compress(model, data[0][:2], method="l2", data=data, finetune_epochs=1, config=config)
    fresh = compress(model, data[0][:2], method="l2").model
    result.into(model)
    assert torch.equal(model[0].weight, result.model.get_parameter("0.weight"))
    assert torch.equal(model[1].running_mean, result.model.get_buffer("1.running_mean"))
    assert not torch.equal(model[0].weight, fresh.get_parameter("0.weight"))


def test_apply_on_a_submodule() -> None:
    outer = nn.ModuleDict({"inner": image_model(Twin())})
    result = shrunk(outer["inner"], torch.randn(2, *IMAGES))
    apply(outer["inner"], result.stages.small, result.stages.analysis, seed=3)
    assert count(outer) == count(result.model)


def residual(models: Any) -> nn.Module:
    return models.resnet.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10)


def resnext(models: Any) -> nn.Module:
    kind = models.resnet.Bottleneck
    return models.resnet.ResNet(kind, [1, 1, 1, 1], 10, groups=4, width_per_group=16)


def mobile(models: Any) -> nn.Module:
    setting = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]]
    return models.MobileNetV2(10, inverted_residual_setting=setting)


def dense(models: Any) -> nn.Module:
    return models.DenseNet(8, (2, 2), 16, num_classes=10)


def vgg(models: Any) -> nn.Module:
    features = models.vgg.make_layers([16, "M", 32, 32, "M"], batch_norm=True)
    model = models.VGG(features, num_classes=10)
    model.classifier = nn.Sequential(nn.Linear(32 * 49, 32), nn.ReLU(), nn.Linear(32, 10))
    return model


def convnext(models: Any) -> nn.Module:
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(24, 48, 1), block(48, None, 1)], layer_scale=0.5, num_classes=10)


def squeeze(models: Any) -> nn.Module:
    config = models.efficientnet.MBConvConfig
    blocks = [config(1, 3, 1, 16, 16, 1, 1.0, 1.0), config(4, 3, 2, 16, 24, 2, 1.0, 1.0)]
    return models.EfficientNet(blocks, 0.0, num_classes=10)


def swin(models: Any) -> nn.Module:
    return models.SwinTransformer([4, 4], 16, [2, 1], [2, 4], [4, 4], num_classes=10)


def vision(models: Any) -> nn.Module:
    return models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)


TORCHVISION = (residual, resnext, mobile, dense, vgg, convnext, squeeze, swin, vision)


@pytest.mark.parametrize("make", TORCHVISION, ids=lambda make: make.__name__)
def test_torchvision(make: Any, torchvision_models: Any) -> None:
    model = image_model(make(torchvision_models))
    assert_into(model, torch.randn(2, *IMAGES), plain=make not in (swin, vision))


def test_resnet18_of_torchvision(torchvision_models: Any) -> None:
    assert_into(image_model(torchvision_models.resnet18()), torch.randn(2, *IMAGES))


def test_vit_of_timm(torchvision_models: Any) -> None:
    del torchvision_models  # timm imports torchvision
    timm = pytest.importorskip("timm")
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_classes": 10}
    model = timm.create_model("vit_tiny_patch16_224", **settings)
    own = assert_into(image_model(model), torch.randn(2, *IMAGES), plain=False, heads="inside")
    assert all(block.attn.head_dim == 8 for block in own.blocks)  # type: ignore[union-attr]


LANGUAGE = {
    "GPT2Model": {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 32},
    "BertModel": {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96},
    "LlamaModel": {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
    },
}


@pytest.mark.parametrize("name", LANGUAGE)
def test_transformers(name: str, torchvision_models: Any) -> None:
    del torchvision_models  # transformers imports torchvision where it is installed
    transformers = pytest.importorskip("transformers")
    settings = {"vocab_size": 99, "use_cache": False, "bos_token_id": 1, "eos_token_id": 2}
    if name != "GPT2Model":
        settings["num_hidden_layers"] = 2
    config = getattr(transformers, name.replace("Model", "Config"))(**settings, **LANGUAGE[name])
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    own = assert_into(model, torch.randint(0, 99, (3, 9)), heads="whole")
    assert own.config.hidden_size == 48  # type: ignore[union-attr]
