"""A recipe: the options of a training in a TOML or JSON file, such as

architecture = "gpt"
tokens = "35M"
lr = 1e-3
[set]
activation = "gelu"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from actpipe import shipped
from actpipe.errors import Missing, Misuse


def read_recipe(path: Path, options: Collection[str]) -> dict[str, Any]:
    """Options by name, as text or numbers; tables become FIELD=VALUE. Misuse for what is no option.

    `actpipe:NAME` is the recipe of a shipped model.
    """
    if shipped.is_named(str(path)):
        path = shipped.recipe(str(path))
    if not path.is_file():
        raise Missing(f"There is no recipe {path}.")
    try:
        text = path.read_text(encoding="utf-8")
        read: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:  # also of bytes that are not UTF-8
        raise Misuse(
            f"The recipe {path} cannot be read: {error}. Write it as TOML, or as JSON in a .json file."
        ) from None
    if not isinstance(read, dict):
        raise Misuse(f"The recipe {path} is no table of options.")
    found = {name.replace("-", "_"): value for name, value in read.items()}
    if unknown := sorted(found.keys() - set(options)):
        raise Misuse(f"The recipe {path} has {unknown[0]!r}, which is no option of train-lm.")
    return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(f"{field}={_written(one)}" for field, one in value.items())
    return tuple(map(str, value)) if isinstance(value, list) else value


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
