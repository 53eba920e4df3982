"""Trained models that come with the package: `actpipe:NAME`.

    weights/NAME/       config.json, model.safetensors (float16), card.json
    tokenizers/NAME/    shared by the models that name it in their card
    recipes/NAME.toml   what `actpipe train-lm --recipe` is given to train the model again

Loading this file loads nothing; it only looks at these folders.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from actpipe.errors import Damaged, Missing

PREFIX = "actpipe:"
HERE = Path(__file__).parent
WEIGHTS, TOKENIZERS, RECIPES = HERE / "weights", HERE / "tokenizers", HERE / "recipes"


def is_named(model: str) -> bool:
    return model.startswith(PREFIX)


def names() -> list[str]:
    """`actpipe:NAME` of every shipped model."""
    return sorted(PREFIX + card.parent.name for card in WEIGHTS.glob("[!.]*/card.json"))


def folder(model: str) -> Path:
    """Where the configuration and weights of `actpipe:NAME` lie."""
    found = WEIGHTS / model.removeprefix(PREFIX)
    if model not in names():
        close = difflib.get_close_matches(model, names(), n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise Missing(f"There is no shipped model {model!r}. {hint}`actpipe info --models` lists them.")
    return found


def card(model: str) -> dict[str, Any]:
    """Recipe, tokens, losses, hashes and time of a shipped model, as `card.json` holds them."""
    path = folder(model) / "card.json"
    try:
        read: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise Damaged(f"The card {path} cannot be read ({error}). Install actpipe again.") from None
    return read


def tokenizer_folder(model: str) -> Path:
    return TOKENIZERS / str(card(model)["tokenizer"])


def recipes() -> list[str]:
    """`actpipe:NAME` of every recipe; the models have these names with the seed behind."""
    return sorted(PREFIX + path.stem for path in RECIPES.glob("*.toml"))


def recipe(name: str) -> Path:
    """The file behind `--recipe actpipe:NAME`."""
    if name not in recipes():
        raise Missing(f"There is no recipe {name!r}; there are {', '.join(recipes())}.")
    return RECIPES / f"{name.removeprefix(PREFIX)}.toml"


def about(card: dict[str, Any]) -> str:
    """One line for a list."""
    return (
        f"{card['about']}; {card['parameters']['other'] / 1e6:.2f} M parameters beside the tables, "
        f"{card['tokens'] / 1e6:.0f} M tokens, validation loss {card['loss']:.3f}"
    )
