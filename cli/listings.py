"""What can be named on the command line: `actpipe info --models`, `--architectures` and the others."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sae


def models() -> dict[str, str]:
    from actpipe import shipped

    return {
        "smollm2": "the embedded model, SmolLM2-135M-Instruct",
        **{name: shipped.about(shipped.card(name)) for name in shipped.names()},
        "FOLDER": "a model and tokenizer written by save_pretrained",
        "OWNER/NAME": "a model of the Hugging Face hub: decoder-only, encoder-only (BERT) or encoder-decoder (T5)",
        "…@init=SEED": "any of these with first weights, drawn from SEED (0 if @init stands alone)",
    }


def architectures() -> dict[str, dict[str, Any]]:
    """Name → what it is, and its fields: swept ones may differ between the members of a grid that train together."""
    import sae

    return {name: _described(sae.get_architecture(name)) for name in sae.architecture_names()}


def language_models() -> dict[str, dict[str, Any]]:
    """Name → what it is, and its fields with their defaults."""
    from actpipe.antehoc import ARCHITECTURES

    return {
        name: {"about": cls.about, "fields": {field.name: str(field.default) for field in dataclasses.fields(cls)}}
        for name, cls in ARCHITECTURES.items()
    }


def presets() -> dict[str, str]:
    from actpipe.training.presets import PRESETS

    return {name: preset.about for name, preset in PRESETS.items()}


def codecs() -> dict[str, str]:
    from actpipe.store.codecs import codec_names

    return codec_names()


def scores() -> dict[str, dict[str, Any]]:
    """Name → what it is, and its metrics: which end is the better one, or that it is an axis."""
    from actpipe.analysis.scores import SCORES

    return {
        name: {
            "about": cls.text,
            "metrics": {metric.name: f"{metric.text} ({metric.better or 'an axis'})" for metric in cls.metrics},
        }
        for name, cls in SCORES.items()
    }


def plugins() -> dict[str, str]:
    """Name → what is imported, and the package that says so."""
    from sae.plugins import plugins

    return {
        point.name: f"{point.value}, of {point.dist.name} {point.dist.version}" if point.dist else point.value
        for point in plugins()
    }


LISTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "models": models,
    "architectures": architectures,
    "language_models": language_models,
    "presets": presets,
    "codecs": codecs,
    "scores": scores,
    "plugins": plugins,
}


def _described(cls: type[sae.Architecture]) -> dict[str, Any]:
    import sae

    # The file says more than the class, whose docstring may be a formula.
    described: dict[str, Any] = {
        "about": _first_sentence(inspect.getmodule(cls)) or _first_sentence(cls),
        "kind": "baseline" if issubclass(cls, sae.Fitted) else "trained",
        "reads": {"row": "one hook", "pair": "one hook, predicts another", "blocks": "several hooks"}[cls.reads],
    }
    fields = _fields(cls)
    swept = {name: text for name, text in fields.items() if name in cls.swept}
    fixed = {name: text for name, text in fields.items() if name not in cls.swept and name != "blocks"}
    return described | ({"swept": swept} if swept else {}) | ({"fixed": fixed} if fixed else {})


def _fields(cls: type[sae.Architecture]) -> dict[str, str]:
    """Name → default and meaning."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: _field(field, hints[field.name]) for field in dataclasses.fields(cls)}


def _field(field: dataclasses.Field[Any], hint: Any) -> str:
    about = next((extra for extra in typing.get_args(hint)[1:] if isinstance(extra, str)), "")
    default = "" if field.default is dataclasses.MISSING else f"{field.default}"
    return ". ".join(part for part in (default, about.rstrip(".")) if part)


def _first_sentence(thing: object) -> str:
    paragraph = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return re.split(r"[.:]\s+(?=[A-Z])", paragraph)[0].rstrip(".")
