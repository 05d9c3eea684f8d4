"""Checkpoints: the whole state of a training in one safetensors file, replaced atomically.

One file, not two: weights, running mean, optimiser moments and best state carry their step number in the
same header, so a kill at any moment leaves either the old state or the new one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sundog.data.atomic import write_bytes
from sundog.errors import RunError

CHECKPOINT = "checkpoint.safetensors"


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON-able facts into one file, atomically."""
    solid = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(solid, {"sundog": json.dumps(facts)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts of a file written by ``write_tensors``.

    Raises
    ------
    RunError : missing, truncated, or not written by sundog.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = (file.metadata() or {}).get("sundog")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"cannot read {path}", got=str(error) or type(error).__name__,
                       expected="a whole safetensors file", do="restore it from a copy, or delete it and train again",
                       ) from error
    if facts is None:
        raise RunError(f"{path} was not written by sundog", got="no sundog header", expected="weights of a run",
                       do="check the path")
    return tensors, json.loads(facts)


def nested(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with 'prefix/' put before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def inside(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with 'prefix/', without it."""
    return {name[len(prefix) + 1:]: tensor for name, tensor in tensors.items() if name.startswith(prefix + "/")}
