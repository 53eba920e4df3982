"""One dictionary in inference form: rows of the model in, codes out, and back.

Training sees centred and scaled rows; here center and scale are folded into the parameters (`Architecture.fold`), so
`encode` takes rows as the model produced them and every direction has length 1. The folder that `save` writes and
`load` reads is docs/reference/dictionary-format.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import registry
from .architecture import Architecture, Params, Size
from .files import check_dtypes, check_format, check_shapes, read_json, read_tensors, write_json, write_tensors
from .scaling import Scaling

FORMAT = "actpipe-dictionary"
VERSION = 1
CONFIG_FILE = "config.json"
TENSORS_FILE = "dictionary.safetensors"
# Keys of `config` that the dictionary itself answers for.
_OWN = frozenset({"format", "version", "architecture", "fixed", "hyper", "d", "n", "out", "dtype", "scaling", "target"})


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """n features of rows of width d, which answer with rows of width `out`. Codes and rows are in model units."""

    architecture: Architecture
    params: Params  # folded
    scaling: Scaling  # for the record: from model units to the units of training
    target: Scaling | None = None  # the same of the rows that a transcoder predicts
    config: dict[str, Any]  # what config.json holds

    @classmethod
    def trained(
        cls,
        architecture: Architecture,
        params: Params,
        *,
        hyper: Mapping[str, float],
        scaling: Scaling,
        target: Scaling | None = None,
        config: Mapping[str, Any],
    ) -> Dictionary:
        """From parameters in training units, which saw `scaling.apply(rows)` and, in a transcoder, `target`'s."""
        if taken := sorted(_OWN & set(config)):
            raise ValueError(f"the configuration of a dictionary sets {', '.join(taken)} itself; rename yours")
        directions = architecture.directions(params)
        scaling = scaling.to(directions.device).to(directions.dtype)
        target = _target(architecture, scaling, target)
        n, out = directions.shape
        d = len(scaling.center)
        _check_widths(architecture, params, Size(d, n, out), target or scaling)
        own = {
            "format": FORMAT,
            "version": VERSION,
            "architecture": architecture.name,
            "fixed": architecture.fixed(),
            "hyper": dict(hyper),
            "d": d,
            "n": n,
            **({} if out == d else {"out": out}),
            "dtype": str(directions.dtype).removeprefix("torch."),
            "scaling": {"scale": _number(scaling)},
            **({} if target is None else {"target": {"scale": _number(target)}}),
        }
        return cls(
            architecture=architecture,
            params=architecture.fold(params, scaling, target or scaling),
            scaling=scaling,
            target=target,
            # As a reader will find it: lists for tuples.
            config=json.loads(json.dumps({**own, **config})),
        )

    @property
    def directions(self) -> Tensor:
        """[n, out]: row i has length 1 and is what feature i adds to the answer, per unit of its code."""
        return self.architecture.directions(self.params)

    @property
    def d(self) -> int:
        return len(self.scaling.center)

    @property
    def n(self) -> int:
        return self.directions.shape[0]

    @property
    def out(self) -> int:
        return self.directions.shape[1]

    @property
    def device(self) -> torch.device:
        return self.scaling.center.device

    @property
    def dtype(self) -> torch.dtype:
        return self.scaling.center.dtype

    def encode(self, x: Tensor) -> Tensor:
        """Rows [..., d] in model units, of any float dtype → codes [..., n]."""
        return self.architecture.encode(self.params, self._rows(x), self._hyper())

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [..., n] → rows [..., out] in model units: codes @ directions + bias."""
        return self.architecture.decode(self.params, codes, self._hyper())

    def reconstruct(self, x: Tensor) -> Tensor:
        """Rows [..., d] → rows [..., out], both in model units: what decoding the codes of x answers.

        Some architectures answer with more than their codes, such as a transcoder with a skip.
        """
        return self.architecture.reconstruct(self.params, self._rows(x), self._hyper())

    def to(self, device: torch.device | str) -> Dictionary:
        return replace(
            self,
            params={name: p.to(device) for name, p in self.params.items()},
            scaling=self.scaling.to(device),
            target=None if self.target is None else self.target.to(device),
        )

    def save(self, folder: str | Path) -> None:
        """Write the folder; a reader sees it whole or not at all."""
        folder = Path(folder)
        # The configuration marks the folder as finished, so an old one goes first and the new one comes last.
        (folder / CONFIG_FILE).unlink(missing_ok=True)
        scalings = {
            **_tensors("scaling", self.scaling),
            **({} if self.target is None else _tensors("target", self.target)),
        }
        write_tensors(folder / TENSORS_FILE, {**self.params, **scalings})
        write_json(folder / CONFIG_FILE, self.config)

    def _rows(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.d:
            raise ValueError(f"rows must have width {self.d}, not {x.shape[-1]}")
        return x.to(self.dtype)

    def _hyper(self) -> dict[str, Tensor]:
        return {name: self.scaling.center.new_tensor(value) for name, value in self.config["hyper"].items()}


def load(folder: str | Path, *, device: torch.device | str = "cpu") -> Dictionary:
    """The dictionary that `Dictionary.save` wrote into `folder`."""
    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"{folder} holds no finished dictionary: it has no {CONFIG_FILE}")
    config = read_json(folder / CONFIG_FILE)
    check_format(folder, config, FORMAT, VERSION)
    tensors, _ = read_tensors(folder / TENSORS_FILE, device)
    try:
        return _dictionary(folder, tensors, config)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is no dictionary that this actpipe wrote ({error!r} in {CONFIG_FILE})") from error


def _dictionary(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Dictionary:
    architecture = registry.get(config["architecture"])(**config["fixed"])
    size = Size.of(config["d"], config["n"], config.get("out"))
    shapes = {**architecture.shapes(size), **_scaling_shapes(config, size)}
    check_shapes(folder / TENSORS_FILE, tensors, shapes)
    real = tensors["scaling.center"].dtype
    if not real.is_floating_point:
        raise ValueError(f"in {folder / TENSORS_FILE} the numbers are {real}, which holds no parameters")
    check_dtypes(folder / TENSORS_FILE, tensors, dict.fromkeys(shapes, real))
    for name in architecture.swept:
        value = config["hyper"][name]
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{folder} has {value!r} for {name}, which is no number")
    try:
        architecture.check_use(size, config["hyper"])  # not `check`: some of its limits are of training alone
    except ValueError as error:
        raise ValueError(f"{folder} cannot be used: {error}") from None
    scaling = _scaling("scaling", config, tensors)
    target = _scaling("target", config, tensors) if "target" in config else None
    return Dictionary(architecture=architecture, params=tensors, scaling=scaling, target=target, config=config)


def _target(architecture: Architecture, scaling: Scaling, target: Scaling | None) -> Scaling | None:
    """The scaling of what a transcoder predicts; the other architectures predict what they read."""
    if (target is None) == (architecture.reads == "pair"):
        raise ValueError(
            f"architecture {architecture.name!r} predicts "
            + ("other rows; give the scaling of these as the target" if target is None else "the rows it reads itself")
        )
    return None if target is None else target.to(scaling.center.device).to(scaling.center.dtype)


def _check_widths(architecture: Architecture, params: Params, size: Size, target: Scaling) -> None:
    if len(target.center) != size.out:
        raise ValueError(f"the scaling is for rows of width {len(target.center)}, the dictionary for width {size.out}")
    for name, shape in architecture.shapes(size).items():
        if name not in params or tuple(params[name].shape) != shape:
            got = list(params[name].shape) if name in params else "missing"
            raise ValueError(
                f"{architecture.name!r} with rows of width {size.d} and {size.n} features has {name} {list(shape)}; "
                f"it is {got}"
            )


def _number(scaling: Scaling) -> float | None:
    """The scale as config.json tells it; None where it is a tensor beside the center."""
    return None if isinstance(scaling.scale, Tensor) else float(scaling.scale)


def _tensors(name: str, scaling: Scaling) -> dict[str, Tensor]:
    center = {f"{name}.center": scaling.center}
    return {**center, f"{name}.scale": scaling.scale} if isinstance(scaling.scale, Tensor) else center


def _scaling_shapes(config: Mapping[str, Any], size: Size) -> dict[str, tuple[int, ...]]:
    widths = {"scaling": size.d, **({"target": size.out} if "target" in config else {})}
    shapes: dict[str, tuple[int, ...]] = {f"{name}.center": (width,) for name, width in widths.items()}
    one_each = [name for name in widths if config[name]["scale"] is None]
    return {**shapes, **{f"{name}.scale": (widths[name],) for name in one_each}}


def _scaling(name: str, config: Mapping[str, Any], tensors: dict[str, Tensor]) -> Scaling:
    """Taken out of `tensors`, so that the parameters are left."""
    scale = config[name]["scale"]
    return Scaling(tensors.pop(f"{name}.center"), tensors.pop(f"{name}.scale") if scale is None else scale)
