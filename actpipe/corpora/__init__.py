"""text → documents → tokens. `open_corpus` turns what the user typed into a `Corpus`."""

from __future__ import annotations

from pathlib import Path

from actpipe.corpora import standard_input
from actpipe.corpora.corpus import Corpus
from actpipe.corpora.factorlang import FactorLang
from actpipe.corpora.files import Files
from actpipe.corpora.formats import SUFFIXES
from actpipe.corpora.hub import HubDataset, is_cloned_repository
from actpipe.corpora.reviews import Reviews
from actpipe.corpora.saved import SavedDataset, is_saved_dataset
from actpipe.corpora.standard_input import StandardInput
from actpipe.errors import Missing, Misuse

__all__ = ["Corpus", "FactorLang", "Files", "HubDataset", "Reviews", "SavedDataset", "StandardInput", "open_corpus"]


def open_corpus(
    name: str,
    *,
    text_field: str = "text",
    split: str = "train",
    revision: str | None = None,
    configuration: str | None = None,
    streaming: bool = True,
) -> Corpus:
    """`reviews`, `-` (standard input), `actpipe:factorlang`, a file or folder, else a Hugging Face dataset.

    A configuration of that may stand behind a colon (`name:configuration`).
    """
    path = Path(name)
    is_ours = name in ("reviews", standard_input.NAME) or name.startswith("actpipe:")
    if not is_ours and (not path.exists() or is_cloned_repository(path)):
        repository, configuration = _repository(name, configuration)
        if path.exists() and revision is not None:
            raise Misuse(f"{name} is a folder here, so it has no revision {revision!r}; leave that out.")
        return HubDataset(
            repository=repository,
            configuration=configuration,
            split=split,
            revision=revision,
            text_field=text_field,
            streaming=streaming,
        )
    for option, value in (("revision", revision), ("configuration", configuration)):
        if value is not None:
            raise Misuse(f"{name} is no Hugging Face dataset, so it has no {option} {value!r}; leave that out.")
    if name == "reviews":
        return Reviews()
    if name.startswith("actpipe:"):
        return FactorLang.named(name, split)
    if name == standard_input.NAME:
        return StandardInput(text_field=text_field)
    if is_saved_dataset(path):
        return SavedDataset(path=path, split=split, text_field=text_field)
    return Files(path=path, text_field=text_field)


def _repository(name: str, configuration: str | None) -> tuple[str, str | None]:
    """Repository and configuration, which may stand behind a colon in the name."""
    if Path(name).exists():
        return name, configuration
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith(SUFFIXES):
        raise Missing(f"There is no file or folder {name}. Give one, reviews, - or a Hugging Face dataset.")
    repository, _, suffix = name.partition(":")
    if suffix and configuration not in (None, suffix):
        raise Misuse(f"The dataset {name} names one configuration and {configuration!r} is another; give one.")
    return repository, suffix or configuration
