"""Near copies of a document share its split; a text without any is split as if nobody had looked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from actpipe.analysis.near_duplicates import near_duplicates
from actpipe.analysis.splits import NAMES, split_of_documents
from actpipe.store import Store, create_store
from actpipe.store.splits import Text

CONTEXT = 64
VOCABULARY = 500


def written(n: int, length: int = 200, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(1, VOCABULARY, length) for _ in range(n)]


def packed(documents: list[np.ndarray]) -> Text:
    """Token 0 opens every sequence."""
    tokens = np.concatenate(documents)
    doc = np.repeat(np.arange(len(documents)), [len(each) for each in documents])
    step = CONTEXT - 1
    tokens, doc = (
        tokens[: len(tokens) // step * step].reshape(-1, step),
        doc[: len(doc) // step * step].reshape(-1, step),
    )
    first = np.zeros((len(tokens), 1), np.int64)
    tokens, doc = np.hstack([first, tokens]).astype(np.int32), np.hstack([doc[:, :1], doc]).astype(np.int32)
    mask = np.ones(tokens.shape, bool)
    mask[:, 0] = False
    return Text(tokens, doc, mask)


def joined(text: Text, pieces: int = 1) -> list[int]:
    numbers = np.unique(text.doc[text.mask])
    parts = [Text(*each) for each in zip(*(np.array_split(part, pieces) for part in text), strict=True)]
    return near_duplicates(parts, numbers, opened=True).tolist()


def store_of(text: Text, place: Path) -> Store:
    store = create_store(place, tokens=text.tokens, doc=text.doc, mask=text.mask, hooks={"h": 2})
    return Store.open(store.place)


def near(document: np.ndarray, seed: int) -> np.ndarray:
    """Three of its words changed, and its end cut off."""
    random = np.random.default_rng(seed)
    copy = document.copy()
    copy[random.choice(len(copy), 3, replace=False)] = random.integers(1, VOCABULARY, 3)
    return copy[: int(0.95 * len(copy))]


def test_planted_near_copies_are_found_and_nothing_else_is() -> None:
    originals = written(60)
    copies = [near(document, seed) for seed, document in enumerate(originals[:20])]
    found = joined(packed([*originals, *copies, np.ones(CONTEXT)]))
    assert found[:60] == list(range(60))
    assert sum(found[60 + i] == i for i in range(20)) >= 19
    assert all(found[60 + i] in (i, 60 + i) for i in range(20))


def test_where_a_document_is_cut_into_pieces_changes_little() -> None:
    originals = written(40)
    text = packed([*originals, *(near(document, seed) for seed, document in enumerate(originals)), np.ones(CONTEXT)])
    whole, pieces = joined(text), joined(text, pieces=7)
    assert sum(a == b for a, b in zip(whole, pieces, strict=True)) >= len(whole) - 2


def test_documents_that_share_some_passages_stay_apart() -> None:
    shared = written(1, 30)[0]
    documents = [np.concatenate([shared, each]) for each in written(50, 170, seed=1)]
    assert joined(packed([*documents, np.ones(CONTEXT)]))[:50] == list(range(50))


def test_a_form_that_everything_is_written_in_joins_nothing() -> None:
    form = written(1)[0]
    documents = [near(form, seed) for seed in range(100)]
    assert joined(packed([*documents, np.ones(CONTEXT)]))[:100] == list(range(100))


def test_near_copies_share_a_split_and_others_keep_theirs(tmp_path: Path) -> None:
    originals = written(80)
    alone = split_of_documents(store_of(packed([*originals, np.ones(CONTEXT)]), tmp_path / "alone.zarr"), 0)
    assert set(alone[:80].tolist()) == set(range(len(NAMES)))
    copies = [near(document, seed) for seed, document in enumerate(originals[:40])]
    with_copies = packed([*originals, *copies, np.ones(CONTEXT)])
    found = split_of_documents(store_of(with_copies, tmp_path / "copies.zarr"), 0)
    assert sum(found[80 + i] == found[i] for i in range(40)) >= 36
    assert found[40:80].tolist() == alone[40:80].tolist()


def test_every_process_finds_the_same_splits(tmp_path: Path) -> None:
    originals = written(30)
    store = store_of(packed([*originals, *(near(d, i) for i, d in enumerate(originals))]), tmp_path / "a.zarr")
    code = (
        "import sys; from actpipe.store import Store; from actpipe.analysis.splits import split_of_documents;"
        "print(split_of_documents(Store.open(sys.argv[1]), 3).tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run(
        [sys.executable, "-c", code, str(store.place)], env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == str(split_of_documents(store, 3).tolist())
