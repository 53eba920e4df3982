"""The exact state of an ensemble as one safetensors file; training continued from it gives the same bits.

The layout is docs/reference/dictionary-format.md, second part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import registry
from .adam import StackedAdam
from .architecture import Size, Trained
from .ensemble import Ensemble
from .files import check_dtypes, check_format, check_shapes, read_tensors, write_tensors
from .grouping import check_choices
from .member import Member
from .resampling import Resampling
from .schedules import Schedule

FORMAT = "actpipe-ensemble"
VERSION = 2


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
        "out": ensemble.out,
        "members": [m.to_json() for m in ensemble.members],
        "adam": {"betas": list(ensemble.adam.betas), "eps": ensemble.adam.eps},
        "schedule": dataclasses.asdict(ensemble.schedule),
        "density": ensemble.density,
        "dead_after": ensemble.dead_after,
        "resampling": None if ensemble.resampling is None else dataclasses.asdict(ensemble.resampling),
        "coder": ensemble.coder,
        "precision": ensemble.precision,
        "compiled": ensemble.compiled,
        "extra": dict(extra or {}),
    }
    write_tensors(Path(path), _tensors(ensemble), header)


def load_checkpoint(path: str | Path, *, device: torch.device | str = "cpu") -> tuple[Ensemble, dict[str, Any]]:
    """The ensemble as it was saved, and the `extra` that was kept with it."""
    path = Path(path)
    tensors, header = read_tensors(path, device)
    check_format(path, header, FORMAT, VERSION)
    try:
        return _ensemble(path, tensors, header), header["extra"]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is no checkpoint that this actpipe wrote ({error!r} in its header)") from error


def _ensemble(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Ensemble:
    architecture = registry.get(header["architecture"])(**header["fixed"])
    if not isinstance(architecture, Trained):
        raise ValueError(f"{path} names architecture {architecture.name!r}, which is not trained step by step")
    check_choices(header["coder"], header["precision"])
    _check_numbers(path, header)
    members = tuple(Member.from_json(m) for m in header["members"])
    if not members:
        raise ValueError(f"{path} has no members")
    size = Size(header["d"], max(m.width for m in members), header["out"])
    for member in members:
        _check_member(path, architecture, member, size)
    shapes = architecture.shapes(size)
    moved = [name for name in shapes if name not in architecture.buffers]
    check_shapes(path, tensors, _stacked_shapes(shapes, moved, len(members), size.n))
    _check_dtypes(path, tensors)
    if len(header["density"]) != len(members):
        raise ValueError(f"{path} knows the density of {len(header['density'])} members and has {len(members)}")
    adam = StackedAdam(
        {name: tensors[f"adam.mean.{name}"] for name in moved},
        {name: tensors[f"adam.square.{name}"] for name in moved},
        tensors["adam.steps"],
        betas=(header["adam"]["betas"][0], header["adam"]["betas"][1]),
        eps=header["adam"]["eps"],
    )
    return Ensemble(
        architecture=architecture,
        members=members,
        size=size,
        schedule=Schedule(**header["schedule"]),
        params={name: tensors[f"params.{name}"] for name in shapes},
        adam=adam,
        idle=tensors["idle"],
        frozen=tensors["frozen"],
        density=header["density"],
        dead_after=header["dead_after"],
        resampling=None if header["resampling"] is None else Resampling(**header["resampling"]),
        coder=header["coder"],
        precision=header["precision"],
        compiled=header["compiled"],
        steps=header["step"],
        rows=header["rows"],
    )


def _check_numbers(path: Path, header: Mapping[str, Any]) -> None:
    for name, least in (("step", 0), ("rows", 0), ("dead_after", 1)):
        if not isinstance(header[name], int) or header[name] < least:
            raise ValueError(f"{path} has {name} {header[name]!r}, which is no whole number from {least} up")
    for value in (*header["adam"]["betas"], header["adam"]["eps"], *header["density"]):
        if not isinstance(value, int | float):
            raise ValueError(f"{path} has {value!r} where a number should be, among adam and density")


def _check_member(path: Path, architecture: Trained, member: Member, size: Size) -> None:
    if set(member.hyper) != set(architecture.swept):
        raise ValueError(
            f"a member in {path} sets {', '.join(sorted(member.hyper)) or 'nothing'}; "
            f"of architecture {architecture.name!r} it sets {', '.join(sorted(architecture.swept))}"
        )
    architecture.check(Size(size.d, member.width, size.out), member.hyper)


def _tensors(ensemble: Ensemble) -> dict[str, Tensor]:
    tensors = {"adam.steps": ensemble.adam.steps, "idle": ensemble.idle, "frozen": ensemble.frozen}
    tensors |= {f"params.{name}": p for name, p in ensemble.params.items()}
    tensors |= {f"adam.mean.{name}": p for name, p in ensemble.adam.mean.items()}
    tensors |= {f"adam.square.{name}": p for name, p in ensemble.adam.square.items()}
    return tensors


def _stacked_shapes(
    shapes: Mapping[str, tuple[int, ...]], moved: Sequence[str], n_members: int, width: int
) -> dict[str, tuple[int, ...]]:
    own: dict[str, tuple[int, ...]] = {"adam.steps": (n_members,), "idle": (n_members, width), "frozen": (n_members,)}
    params = {f"params.{name}": (n_members, *shape) for name, shape in shapes.items()}
    moments = {f"adam.{kind}.{name}": (n_members, *shapes[name]) for kind in ("mean", "square") for name in moved}
    return {**own, **params, **moments}


def _check_dtypes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    counts = {"adam.steps": torch.float32, "idle": torch.int64, "frozen": torch.bool}
    real = next(t.dtype for name, t in tensors.items() if name.startswith("params."))
    if real not in (torch.float32, torch.float64):
        raise ValueError(f"in {path} parameters are {real}; training has them as float32 or float64")
    check_dtypes(path, tensors, {**dict.fromkeys(tensors, real), **counts})
