"""The fields of architectures by name: which there are, what a text means for one, and what to write instead."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

import sae
from actpipe.errors import Misuse

# Settings of a member that no architecture knows and that can be swept all the same.
OF_MEMBERS = ("clip",)
# Fields that have a flag of their own, in the order in which one of them becomes the grid that nobody asked for.
FLAGS = {"l1": "--l1-sweep", "k": "--k-sweep", "target_l0": "--l0-sweep"}
# Fixed fields that follow from the rows.
FROM_ROWS = ("blocks",)
# Baselines in which nothing is drawn: all seeds would give the same.
SEEDLESS = frozenset({"pca", "identity", "identity_relu"})
# Where a fixed field chooses between two kinds of sparsity: swept fields that its value leaves without effect.
IDLE: dict[tuple[str, Any], frozenset[str]] = {
    ("gate", "relu"): frozenset({"k", "auxk"}),
    ("gate", "topk"): frozenset({"l1"}),
}


def trainable_names() -> list[str]:
    return [
        name for name in sae.architecture_names() if issubclass(sae.get_architecture(name), sae.Trained | sae.Fitted)
    ]


def architecture_named(name: str) -> type[sae.Architecture]:
    known = trainable_names()
    if name in sae.architecture_names() and name not in known:
        raise Misuse(f"Dictionaries of architecture {name!r} come from other tools; they are converted, not trained.")
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? There is" if close else "there is"
        raise Misuse(f"There is no architecture {name!r}; {hint} {', '.join(known)}.")
    return sae.get_architecture(name)


def fixed_fields(cls: type[sae.Architecture]) -> dict[str, Any]:
    """Name → type of the fields that are one value for a whole ensemble."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.name not in cls.swept}


def effective_fields(architecture: sae.Architecture) -> tuple[str, ...]:
    """The swept fields that have an effect beside the fixed ones."""
    idle = [IDLE.get((name, value), frozenset()) for name, value in architecture.fixed().items() if name == "gate"]
    return tuple(field for field in architecture.swept if not any(field in each for each in idle))


def main_field(swept: tuple[str, ...]) -> str | None:
    """The field that decides how sparse a trained dictionary is, where it is one of those with a flag."""
    return next((field for field in FLAGS if field in swept), None)


def implied(kinds: Mapping[str, Any], asked: Collection[str]) -> dict[str, list[Any]]:
    """Values of fixed fields that follow from the swept fields asked for: a grid of k is about the gate topk."""
    if "gate" not in kinds:
        return {}
    gates = [value for (name, value), idle in IDLE.items() if name == "gate" and set(asked) & FLAGS.keys() - idle]
    return {"gate": gates} if gates else {}


def knows(cls: type[sae.Architecture], field: str) -> bool:
    return field in cls.swept or field in fixed_fields(cls) or (field in OF_MEMBERS and issubclass(cls, sae.Trained))


def unknown_field(field: str, flag: str, classes: list[type[sae.Architecture]]) -> Misuse:
    """For a field that none of the chosen architectures has."""
    named = ", ".join(cls.name for cls in classes)
    mains = [FLAGS[main] for cls in classes if (main := main_field(cls.swept))]
    others = sorted({f for cls in classes for f in (*cls.swept, *fixed_fields(cls)) if f not in FROM_ROWS})
    if flag in FLAGS.values() and mains:
        return Misuse(f"{flag} does not fit {named}; use {' and '.join(dict.fromkeys(mains))}.")
    close = get_close_matches(field, others, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    has = f"its fields are {', '.join(others)}" if others else "it has no fields"
    return Misuse(f"{flag} {field}: {named} has no such field; {hint}{has}.")


def parse_value(text: str, kind: Any, flag: str) -> Any:
    """`text` as a value of a field of type `kind`."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in options:
            return None
        return parse_value(text, next(option for option in options if option is not type(None)), flag)
    if typing.get_origin(kind) is tuple:
        return tuple(parse_value(part, options[0], flag) for part in text.split(",") if part)
    if typing.get_origin(kind) is typing.Literal:
        if text not in options:
            raise Misuse(f"{flag}: {text!r} is none of {', '.join(map(str, options))}.")
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise Misuse(f"{flag}: {text!r} is neither true nor false.")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise Misuse(f"{flag}: {text!r} is not {'a whole number' if kind is int else 'a number'}.") from None


def assignment(text: str, flag: str) -> tuple[str, str]:
    """`FIELD=VALUE` → both."""
    field, equals, value = text.partition("=")
    if not (field.strip() and equals and value.strip()):
        form = "FIELD=A,B,C or FIELD=LOW:HIGH:N" if flag == "--sweep" else "FIELD=VALUE"
        raise Misuse(f"{flag} {text} is not {form}.")
    return field.strip(), value.strip()
