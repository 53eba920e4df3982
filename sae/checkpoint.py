"""The exact state of an ensemble as one safetensors file; training continued from it gives the same bits.

The layout is docs/reference/dictionary-format.md, second part.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import registry
from .adam import StackedAdam
from .ensemble import Ensemble, Member
from .files import check_format, check_shapes, read_tensors, write_tensors
from .schedules import Schedule

FORMAT = "actpipe-ensemble"
VERSION = 1


def save_checkpoint(path: str | Path, ensemble: Ensemble, *, extra: Mapping[str, Any] | None = None) -> None:
    """Write the state; `extra` is JSON to keep with it, such as the position of the reader."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "step": ensemble.steps,
        "rows": ensemble.rows,
        "architecture": ensemble.architecture.name,
        "fixed": ensemble.architecture.fixed(),
        "d": ensemble.d,
        "width": ensemble.width,
        "members": [_member_to_json(m) for m in ensemble.members],
        "adam": {"betas": list(ensemble.adam.betas), "eps": ensemble.adam.eps},
        "schedule": dataclasses.asdict(ensemble.schedule),
        "dead_after": ensemble.dead_after,
        "extra": dict(extra or {}),
    }
    write_tensors(Path(path), _tensors(ensemble), header)


def load_checkpoint(path: str | Path, *, device: torch.device | str = "cpu") -> tuple[Ensemble, dict[str, Any]]:
    """The ensemble as it was saved, and the `extra` that was kept with it."""
    path = Path(path)
    tensors, header = read_tensors(path, device)
    check_format(path, header, FORMAT, VERSION)
    architecture = registry.get(header["architecture"])(**header["fixed"])
    members = tuple(_member_from_json(m) for m in header["members"])
    shapes = architecture.shapes(d=header["d"], width=header["width"])
    check_shapes(path, tensors, _stacked_shapes(shapes, len(members), header["width"]))
    adam = StackedAdam(
        {name: tensors[f"adam.mean.{name}"] for name in shapes},
        {name: tensors[f"adam.square.{name}"] for name in shapes},
        tensors["adam.steps"],
        betas=(header["adam"]["betas"][0], header["adam"]["betas"][1]),
        eps=header["adam"]["eps"],
    )
    ensemble = Ensemble(
        architecture=architecture,
        members=members,
        schedule=Schedule(**header["schedule"]),
        params={name: tensors[f"params.{name}"] for name in shapes},
        adam=adam,
        idle=tensors["idle"],
        frozen=tensors["frozen"],
        dead_after=header["dead_after"],
        steps=header["step"],
        rows=header["rows"],
    )
    return ensemble, header["extra"]


def _tensors(ensemble: Ensemble) -> dict[str, Tensor]:
    tensors = {"adam.steps": ensemble.adam.steps, "idle": ensemble.idle, "frozen": ensemble.frozen}
    for name, p in ensemble.params.items():
        tensors[f"params.{name}"] = p
        tensors[f"adam.mean.{name}"] = ensemble.adam.mean[name]
        tensors[f"adam.square.{name}"] = ensemble.adam.square[name]
    return tensors


def _stacked_shapes(shapes: Mapping[str, tuple[int, ...]], n_members: int, width: int) -> dict[str, tuple[int, ...]]:
    stacked: dict[str, tuple[int, ...]] = {
        "adam.steps": (n_members,),
        "idle": (n_members, width),
        "frozen": (n_members,),
    }
    for name, shape in shapes.items():
        for kind in ("params", "adam.mean", "adam.square"):
            stacked[f"{kind}.{name}"] = (n_members, *shape)
    return stacked


def _member_to_json(member: Member) -> dict[str, Any]:
    clip = member.clip if math.isfinite(member.clip) else None  # JSON has no infinity
    return {"seed": member.seed, "lr": member.lr, "clip": clip, "hyper": dict(member.hyper)}


def _member_from_json(stored: Mapping[str, Any]) -> Member:
    clip = math.inf if stored["clip"] is None else stored["clip"]
    return Member(seed=stored["seed"], lr=stored["lr"], clip=clip, hyper=stored["hyper"])
