"""What can be named on the command line: `actpipe info --models`, `--architectures`, `--codecs`. Name → one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def models() -> dict[str, str]:
    return {
        "smollm2": "the embedded model, SmolLM2-135M-Instruct",
        "FOLDER": "a model and tokenizer written by save_pretrained",
        "OWNER/NAME": "a model of the Hugging Face hub: decoder-only, encoder-only (BERT) or encoder-decoder (T5)",
    }


def architectures() -> dict[str, str]:
    import sae

    found = {name: sae.get_architecture(name) for name in sae.architecture_names()}
    # The file says more than the class, whose docstring may be a formula.
    return {name: _first_line(inspect.getmodule(each)) or _first_line(each) for name, each in found.items()}


def codecs() -> dict[str, str]:
    from actpipe.store.codecs import codec_names

    return codec_names()


LISTINGS: dict[str, Callable[[], dict[str, str]]] = {
    "models": models,
    "architectures": architectures,
    "codecs": codecs,
}


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0].rstrip(".")
