"""What a format is, and which one a path holds.

To add one: a file beside this with a final subclass of `Format`, and one line in `__init__.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

from torch import Tensor

import sae
from actpipe.errors import Missing, Misuse

from .form import Form, dictionary_of

SHOWN = 3  # examples in a sentence


class Answer(NamedTuple):
    """What a dictionary says about rows [B, d], all in float64."""

    codes: Tensor  # [B, n], in the units of its format
    lengths: Tensor  # [n] or [B, n], of what a code of 1 adds to the answer, in model units
    rows: Tensor  # [B, out], in model units


Reference: TypeAlias = Callable[[Tensor], Answer]


class Format(ABC):
    name: ClassVar[str]
    library: ClassVar[str]  # whose format it is, for people
    files: ClassVar[str]  # what it looks like on a disk
    writes: ClassVar[bool] = False

    @abstractmethod
    def detect(self, path: Path) -> bool:
        """Whether the path looks like it. Never raises, and is never true of two formats."""

    @abstractmethod
    def read(self, path: Path) -> sae.Dictionary:
        """The dictionary in model units. Misuse with a sentence where it is broken, or more than ours can compute."""

    @abstractmethod
    def reference(self, path: Path) -> Reference:
        """What the library itself would compute: its published formula over the tensors as they lie in the file.

        Written apart from `read` and sharing nothing with it but the reading of files, so that `--verify` finds what
        `read` gets wrong.
        """

    def write(self, dictionary: sae.Dictionary, folder: Path) -> None:
        """Fill an empty folder. Misuse with a sentence where the format has no word for this dictionary."""
        raise Misuse(f"actpipe reads {self.library}'s format and does not write it.")


class Formats:
    """Name → format, in the order of the list."""

    def __init__(self, formats: list[Format]) -> None:
        self._formats: dict[str, Format] = {each.name: each for each in formats}

    def __iter__(self) -> Iterator[Format]:
        return iter(self._formats.values())

    def named(self, name: str) -> Format:
        if name not in self._formats:
            raise Misuse(f"There is no format {name!r}; known: {', '.join(self._formats)}.")
        return self._formats[name]

    def of(self, path: Path) -> Format:
        """The format that a path holds."""
        if not path.exists():
            raise Missing(f"There is nothing at {path}; name a folder or file with a dictionary.")
        for each in self:
            if each.detect(path):
                return each
        if path.is_dir() and (inside := self._inside(path)):
            more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
            raise Misuse(f"{path} holds several dictionaries; name one: {', '.join(map(str, inside[:SHOWN]))}{more}.")
        known = "; ".join(f"{each.name}: {each.files}" for each in self)
        raise Misuse(f"{path} is no dictionary in a format that actpipe knows ({known}).")

    def _inside(self, path: Path) -> list[Path]:
        below = sorted(p for pattern in ("*", "*/*") for p in path.glob(pattern) if p.is_dir())
        return [p for p in below if any(each.detect(p) for each in self)]


def imported(
    form: Form,
    source: Mapping[str, Any],
    *,
    hook: str | None,
    target_hook: str | None = None,
    double: bool = False,
) -> sae.Dictionary:
    """The dictionary of a form, with what config.json tells of where it comes from and of its units.

    `source`: JSON, at least "format" and "library".
    """
    return dictionary_of(
        form,
        {
            **({} if hook is None else {"hook": hook}),
            **({} if target_hook is None else {"target_hook": target_hook}),
            "units": units(form, str(source["library"])),
            "source": dict(source),
        },
        double=double,
    )


ROWS = {
    "none": "as the model produces them; nothing is left to scale",
    "center": "as the model produces them; their mean over coordinates is taken off and put back here",
    "layer_norm": "as the model produces them; each is normalised by its own mean and standard deviation here",
    "length": "as the model produces them; each is brought to length √d here",
}


def units(form: Form, library: str) -> dict[str, str]:
    lengths = form.lengths
    low, high = (f"{float(each):.4g}" for each in (lengths.min(), lengths.max()))
    if low == high == "1":
        factor = ""
    elif low == high:
        factor = f" times {low}"
    else:
        factor = f" times the length of its decoder row in model units ({low} to {high})"
    own = {"layer_norm": " and the standard deviation of the row", "length": " and ‖x‖ / √d of the row"}
    per_row = own.get(form.normalise, "")
    per_row = per_row.replace(" and ", " times ", 1) if per_row and not factor else per_row
    return {
        "rows": ROWS[form.normalise],
        "codes": f"model units, the length of a feature's contribution: the code of {library}{factor}{per_row}",
    }


def exported_units(form: Form) -> dict[str, str]:
    """What the file's numbers mean, for whoever opens it."""
    lengths = form.lengths
    unit = bool(((lengths - 1).abs() < 1e-4).all())
    codes = "model units: decoder rows have length 1" if unit else "those of the file it was imported from"
    return {"rows": "as the model produces them; no factor is left to apply", "codes": codes}
