"""Reading foreign files: numbers and JSON only. Nothing here runs code that a file brings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from actpipe.errors import Missing, Misuse

# What torch.load and numpy.load raise of bytes that nobody wrote so: of files cut or changed at random IndexError,
# AssertionError, AttributeError, TypeError, struct.error, zlib.error and NotImplementedError have been seen too.
UNREADABLE = Exception


class Tensors:
    """The tensors of one file, handed out in float64 and checked; what is wrong is said with the name of the file."""

    def __init__(self, path: Path, content: Mapping[str, Tensor]) -> None:
        self.path, self.content = path, content
        self._taken: dict[str, Tensor] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor in float64; −1 leaves a length open."""
        if name not in self._taken:
            self._taken[name] = self._checked(name)
        found = self._taken[name]
        if len(found.shape) != len(shape) or any(s not in (-1, f) for s, f in zip(shape, found.shape, strict=True)):
            wanted = ["any" if s == -1 else s for s in shape]
            raise Misuse(f"In {self.path} the tensor {name!r} has shape {list(found.shape)}, not {wanted}.")
        return found

    def _checked(self, name: str) -> Tensor:
        if name not in self.content:
            raise Misuse(f"{self.path} lacks the tensor {name!r}; it has {', '.join(sorted(self.content)) or 'none'}.")
        found = self.content[name].double()
        if not bool(torch.isfinite(found).all()):
            raise Misuse(f"In {self.path} the tensor {name!r} holds numbers that are not finite.")
        return found

    def first(self, *names: str) -> str:
        """The first of the names that the file has: libraries have renamed theirs."""
        return next((name for name in names if name in self), names[0])

    @property
    def double(self) -> bool:
        """Whether the file is in float64; everything narrower fits into float32."""
        return any(t.dtype == torch.float64 for t in self.content.values() if t.ndim > 0)


def read_safetensors(path: Path) -> Tensors:
    try:
        with safe_open(path, framework="pt") as file:
            return Tensors(path, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except FileNotFoundError:
        raise Missing(f"{path} is not there; a dictionary without its weights cannot be read.") from None
    except (SafetensorError, OSError) as error:
        raise Misuse(f"{path} is not a whole safetensors file ({error}). Get it again from where it came.") from None


def read_torch(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, if it is a mapping of tensors and plain values."""
    try:
        content = _tensors_only(path)
    except FileNotFoundError:
        raise Missing(f"{path} is not there; a dictionary without its weights cannot be read.") from None
    except UnpicklingError:
        raise Misuse(
            f"{path} is a pickle of more than tensors, and actpipe runs no code of a file. Where you trust it, load it "
            "with the library that wrote it and save the tensors alone: torch.save(dictionary.state_dict(), 'ae.pt')."
        ) from None
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise Misuse(f"{path} is not a whole file of torch.save ({reason}). Get it again from where it came.") from None
    if not isinstance(content, dict):
        raise Misuse(f"{path} holds a {type(content).__name__}, not the tensors of a dictionary by name.")
    return content


def names_in(path: Path) -> frozenset[str]:
    """The names in a file of `torch.save`; none where it cannot be read."""
    try:
        content = _tensors_only(path)
    except UNREADABLE:
        return frozenset()
    return frozenset(content) if isinstance(content, dict) else frozenset()


def _tensors_only(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickles that were not written by torch; what matters is raised
        return torch.load(path, map_location="cpu", weights_only=True)


def tensors_of(path: Path, content: Mapping[str, Any]) -> Tensors:
    return Tensors(path, {name: value for name, value in content.items() if isinstance(value, Tensor)})


def read_npz(path: Path) -> Tensors:
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return Tensors(path, {name: torch.from_numpy(np.array(file[name])) for name in file.files})
    except FileNotFoundError:
        raise Missing(f"{path} is not there; a dictionary without its weights cannot be read.") from None
    except UNREADABLE as error:
        raise Misuse(
            f"{path} is not a whole .npz file of numbers ({error}). Get it again from where it came."
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    try:
        # Python writes NaN, which is not JSON: kept as a word, so that ours stays JSON and no number is made of it.
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=str)
    except FileNotFoundError:
        raise Missing(f"{path} is not there, and without it the weights cannot be understood.") from None
    except (ValueError, OSError, RecursionError) as error:  # also of bytes that are not UTF-8
        raise Misuse(f"{path} is not JSON ({error}). Get it again from where it came.") from None
    if not isinstance(value, dict):
        raise Misuse(f"{path} is not a JSON object. Get it again from where it came.")
    return value


def entry(config: Mapping[str, Any], path: Path, name: str, *kinds: type) -> Any:
    """A value of a configuration that must be there, and of one of these kinds."""
    if name not in config:
        raise Misuse(f"{path} lacks {name!r}; without it the weights cannot be understood.")
    value = config[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise Misuse(f"In {path} {name!r} is {value!r}, which is not {' or '.join(kind.__name__ for kind in kinds)}.")
    return value


def count(config: Mapping[str, Any], path: Path, name: str) -> int:
    """A whole number from 1 up."""
    value = entry(config, path, name, int, float)
    if value != value or value < 1 or value != int(value):
        raise Misuse(f"In {path} {name!r} must be a whole number from 1 up, not {value!r}.")
    return int(value)
