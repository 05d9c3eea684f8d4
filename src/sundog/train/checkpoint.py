"""What lies on disk: run.json, and the whole state of a training in one safetensors file, replaced atomically.

One file, not two: weights, running mean, optimiser moments and best state carry their step number in the
same header, so a kill at any moment leaves either the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sundog.data.atomic import write_bytes
from sundog.errors import RunError

CHECKPOINT = "checkpoint.safetensors"
RUN = "run.json"


def write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON-able facts into one file, atomically."""
    solid = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(facts)
    write_bytes(path, safetensors.torch.save(solid, {"sundog": text, "checksum": _seal(text, solid)}))


def _seal(text: str, tensors: dict[str, Tensor]) -> str:
    """Hash of facts, names, types, shapes and numbers: a bit that flipped anywhere is noticed."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts of a file written by ``write_tensors``.

    Raises
    ------
    RunError : missing, truncated, or not written by sundog.
    """
    try:
        with safe_open(path, framework="pt") as file:
            held = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        told = json.loads(held["sundog"]) if "sundog" in held else None
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise RunError(f"cannot read {path}", got=str(error) or type(error).__name__,
                       expected="a whole safetensors file", do="restore it from a copy, or delete it and train again",
                       ) from error
    if told is None:
        raise RunError(f"{path} was not written by sundog", got="no sundog header", expected="weights of a run",
                       do="check the path")
    sealed = held.get("checksum")
    if sealed is not None and sealed != _seal(held["sundog"], tensors):
        raise RunError(f"{path} is damaged", got="numbers of another checksum", expected=sealed,
                       do="restore it from a copy, or delete it and train again")
    return tensors, told


def nested(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with 'prefix/' put before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def inside(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with 'prefix/', without it."""
    return {name[len(prefix) + 1:]: tensor for name, tensor in tensors.items() if name.startswith(prefix + "/")}


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of run.json, checked."""
    path = folder / RUN
    if not path.exists():
        unfinished = folder.is_dir() and any(folder.glob("checkpoint*"))
        raise RunError(f"there is no run in {folder}", got="an unfinished training" if unfinished else "no run.json",
                       expected="a folder written by fit(..., out=...)",
                       do="call fit with the same arguments to finish it" if unfinished else "check the path")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["sundog_run"] != 1:
            raise RunError(f"{path} is of another version", got=facts["sundog_run"], expected=1, do="update sundog")
        for word in ("weights", "family", "model", "plan", "history", "labels", "scaling"):
            facts[word]  # a KeyError is explained below
        sealed = facts.pop("checksum", None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is not a run", got=str(error), expected="JSON written by sundog",
                       do="restore it from a copy, or fit again") from error
    if sealed is not None and sealed != checksum(facts):
        raise RunError(f"{path} was changed after it was written", got=f"checksum {checksum(facts)}", expected=sealed,
                       do="restore it from a copy; where the change was meant, take its line 'checksum' out")
    return dict(facts)


def checksum(facts: dict[str, Any]) -> str:
    """Hash of what JSON holds of the facts."""
    held = json.loads(json.dumps(facts))
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]
