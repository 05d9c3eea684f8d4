"""Where a training runs: one device, or several processes that share every batch through Lightning Fabric."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sundog.checks import optional
from sundog.errors import OptionError
from sundog.models.base import Batch, Model
from sundog.train.checkpoint import inside, nested, read_tensors, write_tensors
from sundog.train.engine import Share, train
from sundog.train.history import History
from sundog.train.plan import Plan


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes cuda, else mps, else cpu.

    Raises
    ------
    OptionError : unknown, or not present on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = name.split(":")[0]
    if not present.get(kind, False):
        here = " | ".join(word for word, is_here in present.items() if is_here)
        raise OptionError("no such device here", got=name, expected=here,
                          do="choose one of these, or device='auto'")
    return torch.device(name)


def train_shared(
    model: Model,
    data: Batch,
    held_out: Batch | None,
    plan: Plan,
    *,
    folder: Path | None,
    identity: str,
    progress: bool,
) -> History:
    """Train on ``plan.devices`` processes of one machine; leaves the result in ``model``.

    Each process holds all data, takes its rows of every batch with their noise, and the gradients are averaged:
    up to the order of additions, the run is the run on one device. Processes and collectives are Fabric's.
    """
    Fabric = optional("lightning_fabric", "multi").Fabric
    kind = choose_device(plan.device).type
    if kind == "mps":
        raise OptionError("several devices need CPU or CUDA", got="mps", expected="cpu | cuda", do="pass devices=1")
    fabric = Fabric(accelerator=kind, devices=plan.devices, strategy="ddp_spawn")
    with tempfile.TemporaryDirectory(prefix="sundog-") as place:
        result = Path(place) / "result.safetensors"
        # A partial: Fabric copies plain arguments piece by piece and refuses frozen dataclasses.
        fabric.launch(partial(_work, model, data, held_out, plan, folder, identity, progress, result))
        tensors, facts = read_tensors(result)
    model.load_state_dict(inside("model", tensors))
    return History(**facts["history"])


def _work(model: Model, data: Batch, held_out: Batch | None, plan: Plan, folder: Path | None,
          identity: str, progress: bool, result: Path, fabric: Any) -> None:
    """What each process does; rank 0 writes the trained weights where the parent reads them."""
    device = fabric.device
    model = copy.deepcopy(model)  # spawned processes share CPU tensors: each must move its own weights

    def mean(tensor: Tensor) -> Tensor:
        return fabric.all_reduce(tensor.to(device), reduce_op="mean")

    history = train(
        model.to(device), to(data, device), None if held_out is None else to(held_out, device), plan,
        folder=folder, identity=identity, progress=progress, share=Share(fabric.global_rank, fabric.world_size, mean),
    )
    if fabric.global_rank == 0:
        write_tensors(result, nested("model", model.state_dict()), {"history": asdict(history)})
    fabric.barrier()


def to(batch: Batch, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
    """The batch on another device, and of another type when one is given."""
    parts = (batch.x, batch.context, batch.weights)
    return Batch(*[None if p is None else p.to(device, dtype or p.dtype) for p in parts])  # type: ignore[arg-type]
