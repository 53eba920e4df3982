"""Families of a text whose truth is known: the factors of FactorLang, where the store was harvested from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actpipe.errors import ActpipeError
from actpipe.store import Store

from .concept import Bools, Concept, RowConcept
from .reading import Reading

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DATASET = "actpipe:factorlang"


def factor_concepts(store: Store) -> tuple[Concept, ...]:
    """None where the text is another, or the model's tokenizer is gone.

    A family is what stands before the first / of a factor's name: `factor topic`, `factor noun`.
    """
    from actpipe.factorlang import FACTORS
    from actpipe.harvest.model import load_tokenizer

    dataset, model = store.config.get("dataset", {}), store.config.get("model")
    if model is None or not str(dataset.get("name", "")).startswith(DATASET):
        return ()
    try:
        tokenizer = load_tokenizer(model["name"])
    except ActpipeError:
        return ()
    return tuple(
        RowConcept(
            name=f"factor {factor.name}",
            text=f"in truth: {factor.meaning}",
            parents=tuple(f"factor {parent}" for parent in factor.parents),
            label=lambda reading, column=i: _labels(reading, store, tokenizer)[:, column],  # type: ignore[misc]
        )
        for i, factor in enumerate(FACTORS)
    )


def _labels(reading: Reading, store: Store, tokenizer: PreTrainedTokenizerFast) -> Bools:
    """[rows, factors], made once a block."""
    from actpipe.factorlang import labels_of_store

    rows = reading.rows
    start = rows.first // store.context
    stop = start + len(rows.tokens) // store.context
    made = rows.once("factors", lambda: labels_of_store(store, tokenizer, start=start, stop=stop))
    return made.labels
