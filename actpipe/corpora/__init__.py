"""text → documents → tokens. `open_corpus` turns what the user typed into a `Corpus`."""

from __future__ import annotations

from pathlib import Path

from actpipe.corpora.corpus import Corpus
from actpipe.corpora.files import Files
from actpipe.corpora.hub import HubDataset
from actpipe.corpora.reviews import Reviews

__all__ = ["Corpus", "Files", "HubDataset", "Reviews", "open_corpus"]


def open_corpus(name: str, *, text_field: str = "text", split: str = "train", revision: str | None = None) -> Corpus:
    """`reviews`, else a local file or folder, else a Hugging Face dataset (`name` or `name:configuration`)."""
    if name == "reviews":
        return Reviews()
    if Path(name).exists():
        return Files(path=Path(name), text_field=text_field)
    repository, _, configuration = name.partition(":")
    return HubDataset(
        repository=repository,
        configuration=configuration or None,
        split=split,
        revision=revision,
        text_field=text_field,
    )
