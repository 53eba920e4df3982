"""A Hugging Face encoder in a folder, such as MiniLM: mean of the last states over the tokens, of unit length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .encoder_judge import Encode

_AT_ONCE = 32  # texts


def sentence_encoder(folder: str) -> Encode:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from actpipe.errors import Missing
    from actpipe.harvest.quiet import quiet_transformers

    with quiet_transformers():
        try:
            model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise Missing(
                f"The encoder {folder!r} could not be loaded: {reason} Give a folder with an encoder."
            ) from error
    model.eval().requires_grad_(False)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(texts), _AT_ONCE):
            batch = tokenizer(list(texts[start : start + _AT_ONCE]), padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                states = model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            parts.append(torch.nn.functional.normalize(mean.float(), dim=-1).numpy())
        return np.concatenate(parts)

    return encode
