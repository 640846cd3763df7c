"""State dicts: finding one inside a checkpoint and putting it into a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import nn

from graphprune.errors import ModelError
from graphprune.io.imports import call_user, import_callable
from graphprune.io.text import few, one_line, reason

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "module", "weights", "params")
_COMPILED = "_orig_mod."  # what torch.compile wraps


def is_state_dict(value: object) -> bool:
    """Return whether ``value`` is a non-empty mapping from names to tensors and nothing else."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) for key in value)
        and any(isinstance(item, torch.Tensor) for item in value.values())
        and all(
            isinstance(item, torch.Tensor) or key.endswith("_extra_state")
            for key, item in value.items()
        )
    )


def find_in_checkpoint(value: object, source: str) -> Any:
    """Return the state dict (or whole ``nn.Module``) that a loaded checkpoint holds.

    The value itself, or the entry under one of the customary names (``state_dict``, ``model`` …),
    or the only entry that is a state dict. Raises :class:`ModelError` if there is none, or
    if there are several and none has a customary name.
    """
    if isinstance(value, nn.Module) or is_state_dict(value):
        return value
    if not isinstance(value, Mapping):
        raise ModelError(
            f"{source}: holds a {type(value).__name__}, neither a model nor a state dict"
        )
    found = {
        str(key): item
        for key, item in value.items()
        if isinstance(item, nn.Module) or is_state_dict(item)
    }
    for name in _CONTAINERS:
        if name in found:
            return found[name]
    if len(found) == 1:
        return next(iter(found.values()))
    keys = few(map(str, found or value), 6) or "nothing"
    problem = "several state dicts" if found else "no state dict"
    raise ModelError(f"{source}: {problem} in this checkpoint, which holds {keys}; save one alone")


def build_model(factory: str) -> nn.Module:
    """Call the factory ``package.module:name`` without arguments; it must return an nn.Module."""
    make: Callable[[], Any] = import_callable(factory, "--model", ModelError)
    if isinstance(make, nn.Module):
        raise ModelError(f"--model {factory}: is a model; name a function or class that makes one")
    model = call_user(make, f"--model {factory}: calling it without arguments", ModelError)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"--model {factory}: returned a {type(model).__name__}, not a torch.nn.Module"
        )
    return model


def fill_model(model: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load ``state`` into ``model`` strictly (in place).

    What wrappers (data parallel, torch.compile, a Lightning module) put before its names is
    dropped. Raises :class:`ModelError` naming a few missing, unexpected or misshapen entries.
    """
    own = model.state_dict()
    state = _named_as(own, state)
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} {list(state[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in state
        and isinstance(own[name], torch.Tensor)
        and isinstance(state[name], torch.Tensor)
        and state[name].shape != own[name].shape
    ]
    labelled = {"missing": missing, "unexpected": unexpected, "other shape": misshapen}
    problems = [f"{label}: {few(names)}" for label, names in labelled.items() if names]
    if problems:
        raise ModelError(
            f"{source} does not fit the model that --model makes ({'; '.join(problems)}); "
            "name the factory of the model it was saved from"
        )
    try:
        model.load_state_dict(dict(state), strict=True)
    except Exception as exc:  # a model's own load hooks may raise anything
        raise ModelError(f"{source} does not fit the model: {reason(exc)}") from exc


def check_weights_finite(model: nn.Module | torch.export.ExportedProgram, source: str) -> None:
    """Raise :class:`ModelError` naming the first parameter that holds NaN or infinity.

    Buffers may hold infinities (attention masks do), but no NaN. ``model`` is an nn.Module or an
    exported program.
    """
    for name, value in model.named_parameters():
        bad = int((~torch.isfinite(value.detach())).sum()) if value.is_floating_point() else 0
        if bad:
            raise ModelError(
                f"{source}: parameter {one_line(name)} holds {bad} of {value.numel()} values that "
                "are NaN or infinite; use a checkpoint from before training diverged"
            )
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and bool(torch.isnan(buffer).any()):
            raise ModelError(
                f"{source}: buffer {one_line(name)} holds NaN; use a checkpoint from before "
                "training diverged"
            )


def _named_as(own: Collection[str], state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entries by the names that the model has for them, where something was wrapped round it.

    torch.compile writes ``_orig_mod.`` before the names of what it was given, at any depth. A
    wrapper (data parallel, a Lightning module) writes its name for the model before all of them.
    """
    if not any(_COMPILED in name for name in own):
        state = {name.replace(_COMPILED, ""): value for name, value in state.items()}
    first = next(iter(own), "")
    for prefix in [name.removesuffix(first) for name in state if name.endswith(f".{first}")]:
        if {name.removeprefix(prefix) for name in state} == set(own):
            return {name.removeprefix(prefix): value for name, value in state.items()}
    return state
