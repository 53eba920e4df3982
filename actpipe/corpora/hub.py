"""Documents from a Hugging Face dataset, streamed: nothing is downloaded that is not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from actpipe.corpora.corpus import Corpus
from actpipe.errors import Missing, Misuse
from actpipe.hub import use_cache_if_unreachable

if TYPE_CHECKING:
    from datasets import IterableDataset


@dataclass(frozen=True, kw_only=True)
class HubDataset(Corpus):
    kind: ClassVar[str] = "hub"

    repository: str
    configuration: str | None = None
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"

    @property
    def name(self) -> str:
        return self.repository

    def documents(self) -> Iterator[str]:
        for number, record in enumerate(self._stream()):
            text = record.get(self.text_field)
            if not isinstance(text, str):
                raise Misuse(
                    f"Document {number} of {self.repository} has no text in field {self.text_field!r} "
                    f"(it has {', '.join(record)}). Give --text-field."
                )
            yield text

    def fingerprint(self) -> str:
        # The stream itself cannot be hashed without reading it; the harvest also records a hash of the tokens it used.
        return "|".join(map(str, (self.repository, self.configuration, self.split, self.revision, self.text_field)))

    def _stream(self) -> IterableDataset:
        use_cache_if_unreachable()
        import datasets

        options: dict[str, Any] = {"split": self.split, "streaming": True}
        try:
            return datasets.load_dataset(self.repository, self.configuration, revision=self.revision, **options)
        except Exception as error:  # the library raises many kinds: no such repository, configuration, split, network
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise Missing(
                f"The dataset {self.repository!r} is neither 'reviews' nor a file or folder here, and Hugging Face "
                f"datasets could not open it: {reason}"
            ) from error
