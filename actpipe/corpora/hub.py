"""Documents from a Hugging Face dataset. Streamed, nothing is downloaded that is not read; else the split is, first.

A dataset repository that was cloned into a local folder is read the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from actpipe.corpora.corpus import Corpus
from actpipe.errors import Failure, Missing, Misuse
from actpipe.hub import use_cache_if_unreachable

from .files import digest_of

_COMMIT = re.compile("[0-9a-f]{40}")


def is_cloned_repository(path: Path) -> bool:
    """Whether the folder's README carries the block of metadata that says which files are which split."""
    try:
        with open(path / "README.md", encoding="utf-8", errors="replace") as file:
            head = file.read(1 << 16)
    except OSError:
        return False
    metadata = re.match(r"---\n(.*?)\n---\n", head, re.DOTALL)
    return metadata is not None and re.search("^(configs|dataset_info):", metadata[1], re.MULTILINE) is not None


@dataclass(frozen=True, kw_only=True)
class HubDataset(Corpus):
    kind: ClassVar[str] = "hub"

    repository: str  # name on the hub, or folder
    configuration: str | None = None
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"
    streaming: bool = True

    def __post_init__(self) -> None:
        if self.streaming and not re.fullmatch(r"[\w.-]+", self.split):
            raise Misuse(
                f"The split {self.split!r} is a part of a dataset, which streaming cannot take. "
                "Give --no-streaming, which downloads it, or a whole split and fewer --tokens."
            )

    @property
    def name(self) -> str:
        return self.repository

    def documents(self) -> Iterator[str]:
        number = 0
        try:
            for number, record in enumerate(self._records()):
                yield self._text(number, record)
        except (Misuse, GeneratorExit):
            raise
        except Exception as error:  # whatever the library and its network raise
            raise Failure(
                f"The dataset {self.repository!r} broke off near document {number}: {_reason(error)}. "
                "Run the same command again."
            ) from error

    def fingerprint(self) -> str:
        """Repository at commit; where the commit is not known, what was asked for, and for a folder its files."""
        # A stream cannot be hashed without reading it; the harvest also records a hash of the tokens it used.
        revision = self.revision
        if revision is None or not _COMMIT.fullmatch(revision):
            revision = self._commit or self._digest_of_folder() or revision
        return "|".join(map(str, (self.repository, self.configuration, self.split, revision, self.text_field)))

    def _text(self, number: int, record: dict[str, Any]) -> str:
        text = record.get(self.text_field, 0)
        if not isinstance(text, str | None):
            raise Misuse(
                f"Document {number} of {self.repository} has no text in field {self.text_field!r} "
                f"(it has {', '.join(record)}). Give --text-field."
            )
        return text or ""

    def _records(self) -> Any:
        if self.streaming:
            return self._asked(lambda: self._builder.as_streaming_dataset(split=self.split))
        self._asked(self._builder.download_and_prepare)
        return self._asked(lambda: self._builder.as_dataset(split=self.split))

    @cached_property
    def _builder(self) -> Any:
        """What the library knows before it reads a record; one object, so that all is read at one commit."""
        use_cache_if_unreachable()
        import datasets

        builder = self._asked(
            lambda: datasets.load_dataset_builder(self.repository, self.configuration, revision=self.revision)
        )
        # Without network the library takes what it has in its cache, whatever the revision.
        if self.revision and _COMMIT.fullmatch(self.revision) and builder.hash != self.revision:
            raise Missing(f"The dataset {self.repository} is here at {builder.hash}, not at {self.revision}.")
        return builder

    @property
    def _commit(self) -> str | None:
        known = self._builder.hash
        return known if known and _COMMIT.fullmatch(known) else None

    def _digest_of_folder(self) -> str | None:
        folder = Path(self.repository)
        if not folder.is_dir():
            return None
        splits = (self._builder.config.data_files or {}).values()
        return digest_of((Path(file) for files in splits for file in files), folder.resolve(), self.text_field)

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except Missing:
            raise
        except Exception as error:  # the library raises many kinds: no such repository, configuration, split, network
            what = f"The dataset {self.repository!r} is neither 'reviews' nor a file or folder here, and"
            if Path(self.repository).exists():
                what = f"The folder {self.repository} is a dataset repository, but"
            raise Missing(f"{what} Hugging Face datasets could not open it: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first two lines: the second of some lists what there is to choose from."""
    return " ".join(str(error).strip().splitlines()[:2]) or type(error).__name__
