"""Tokens against embeddings: a tokenizer that was saved beside the wrong model is told before the model runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Mismatch
from actpipe.harvest.model import LanguageModel


def require_embeddings(model: LanguageModel, tokens: NDArray[np.int32]) -> None:
    """Raise Mismatch where a number in `tokens` has no embedding in the model."""
    embeddings = model.module.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    highest = int(tokens.max(initial=0))
    if highest >= embeddings:
        text = model.tokenizer.decode([highest])
        raise Mismatch(
            f"The tokenizer of {model.name} gives the token {text!r} number {highest}, and the model has {embeddings} "
            "embeddings. Save the tokenizer that the model was trained with beside it."
        )
