"""The text of a token for people, when the tokenizer lies on this machine; nothing is downloaded or converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from actpipe import shipped
from actpipe.harvest import embedded
from actpipe.harvest.naming import Named


def token_names(model: str) -> Callable[[int], str] | None:
    """Number → text for the tokenizer of a model; None when it is not at hand."""
    path = _tokenizer_file(model)
    if path is None:
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))

    def name(token: int) -> str:
        text = str(tokenizer.decode([token], skip_special_tokens=False))
        return text if text and "\ufffd" not in text else tokenizer.id_to_token(token) or f"<{token}>"

    return name


def _tokenizer_file(model: str) -> Path | None:
    model = Named.of(model).trained
    if shipped.is_named(model):
        path = shipped.tokenizer_folder(model) / "tokenizer.json"
    elif model == embedded.NAME:
        path = embedded.cache_folder() / f"{embedded.NAME}-{embedded.CONVERSION}" / "tokenizer.json"
    elif Path(model).is_dir():
        path = Path(model) / "tokenizer.json"
    else:
        return _cached(model)
    return path if path.is_file() else None


def _cached(model: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "tokenizer.json")
    except HFValidationError:  # not a name that the hub could have
        return None
    return Path(found) if isinstance(found, str) else None
