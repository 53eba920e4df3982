"""One trained dictionary in inference form: rows of the model in, codes out, and back.

Training sees centred and scaled rows; here center and scale are folded into the parameters (`Architecture.fold`), so
`encode` takes rows as the model produced them and every direction has length 1. The folder that `save` writes and
`load` reads is docs/reference/dictionary-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import registry
from .architecture import Architecture, Params
from .files import check_format, check_shapes, read_json, read_tensors, write_json, write_tensors
from .scaling import Scaling

FORMAT = "actpipe-dictionary"
VERSION = 1
CONFIG_FILE = "config.json"
TENSORS_FILE = "dictionary.safetensors"
CENTER = "scaling.center"
# Keys of `config` that the dictionary itself answers for.
_OWN = frozenset({"format", "version", "architecture", "fixed", "hyper", "d", "n", "dtype", "scaling"})


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """n features of rows of width d. Codes and rows are in model units."""

    architecture: Architecture
    params: Params  # folded
    center: Tensor  # [d], for the record: how rows were centred in training
    config: dict[str, Any]  # what config.json holds

    @classmethod
    def trained(
        cls,
        architecture: Architecture,
        params: Params,
        *,
        hyper: Mapping[str, float],
        scaling: Scaling,
        config: Mapping[str, Any],
    ) -> Dictionary:
        """From parameters in training units, which saw `scaling.apply(rows)`."""
        if taken := sorted(_OWN & set(config)):
            raise ValueError(f"the configuration of a dictionary sets {', '.join(taken)} itself; rename yours")
        directions = architecture.directions(params)
        n, d = directions.shape
        if scaling.center.shape != (d,):
            raise ValueError(f"the scaling is for rows of width {len(scaling.center)}, the dictionary for width {d}")
        center = scaling.center.to(directions)
        own = {
            "format": FORMAT,
            "version": VERSION,
            "architecture": architecture.name,
            "fixed": architecture.fixed(),
            "hyper": dict(hyper),
            "d": d,
            "n": n,
            "dtype": str(directions.dtype).removeprefix("torch."),
            "scaling": {"scale": scaling.scale},
        }
        folded = architecture.fold(params, Scaling(center, scaling.scale))
        return cls(architecture=architecture, params=folded, center=center, config={**own, **config})

    @property
    def directions(self) -> Tensor:
        """[n, d]: row i has length 1 and is what feature i adds to a row, per unit of its code."""
        return self.architecture.directions(self.params)

    @property
    def d(self) -> int:
        return self.directions.shape[1]

    @property
    def n(self) -> int:
        return self.directions.shape[0]

    @property
    def scaling(self) -> Scaling:
        """From model units to the units of training."""
        return Scaling(self.center, self.config["scaling"]["scale"])

    def encode(self, x: Tensor) -> Tensor:
        """Rows [..., d] in model units, of any float dtype → codes [..., n]."""
        if x.shape[-1] != self.d:
            raise ValueError(f"rows must have width {self.d}, not {x.shape[-1]}")
        return self.architecture.encode(self.params, x.to(self.directions.dtype), self._hyper())

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [..., n] → rows [..., d] in model units: codes @ directions + bias."""
        return self.architecture.decode(self.params, codes, self._hyper())

    def to(self, device: torch.device | str) -> Dictionary:
        return Dictionary(
            architecture=self.architecture,
            params={name: p.to(device) for name, p in self.params.items()},
            center=self.center.to(device),
            config=self.config,
        )

    def save(self, folder: str | Path) -> None:
        """Write the folder; a reader sees it whole or not at all."""
        folder = Path(folder)
        # The configuration marks the folder as finished, so an old one goes first and the new one comes last.
        (folder / CONFIG_FILE).unlink(missing_ok=True)
        write_tensors(folder / TENSORS_FILE, {**self.params, CENTER: self.center})
        write_json(folder / CONFIG_FILE, self.config)

    def _hyper(self) -> dict[str, Tensor]:
        return {name: self.center.new_tensor(value) for name, value in self.config["hyper"].items()}


def load(folder: str | Path, *, device: torch.device | str = "cpu") -> Dictionary:
    """The dictionary that `Dictionary.save` wrote into `folder`."""
    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"{folder} holds no finished dictionary: it has no {CONFIG_FILE}")
    config = read_json(folder / CONFIG_FILE)
    check_format(folder, config, FORMAT, VERSION)
    architecture = registry.get(config["architecture"])(**config["fixed"])
    tensors, _ = read_tensors(folder / TENSORS_FILE, device)
    shapes = architecture.shapes(d=config["d"], width=config["n"])
    check_shapes(folder / TENSORS_FILE, tensors, {**shapes, CENTER: (config["d"],)})
    center = tensors.pop(CENTER)
    return Dictionary(architecture=architecture, params=tensors, center=center, config=config)
