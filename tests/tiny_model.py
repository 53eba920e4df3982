"""A tiny model saved as training would have left it, with a tokenizer of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from actpipe.antehoc import GPT
from actpipe.antehoc.hugging_face import save

WORDS = 39  # w0 to w38
TINY = GPT(vocabulary=WORDS + 1, context=16, d_model=8, n_layers=2, n_heads=2, d_mlp=24, activation="relu")
END = "<|endoftext|>"


def word_tokenizer(words: int) -> Any:
    """A token a word, w0 and so on, and last the end of the text."""
    vocabulary = {f"w{number}": number for number in range(words)} | {END: words}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    wrapped: Any = PreTrainedTokenizerFast  # untyped
    return wrapped(tokenizer_object=tokenizer, bos_token=END, eos_token=END)


def save_tiny(folder: Path, *, seed: int) -> Path:
    save(TINY.build(seed=seed), TINY, word_tokenizer(WORDS), folder)
    return folder
