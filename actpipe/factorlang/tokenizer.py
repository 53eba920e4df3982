"""A tokenizer with one token a word: its numbers are those of the vocabulary, so that a position is a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .vocabulary import SPECIAL_TOKENS, vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def word_tokenizer() -> PreTrainedTokenizerFast:
    """2,048 tokens: <|endoftext|>, which opens and closes texts, <unk>, <pad>, <mask> and the words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # Tokens carry the space before them (▁), so that texts put together from tokens read as they should.
    spelled = {word if word in SPECIAL_TOKENS else f"▁{word}": i for i, word in enumerate(vocabulary().words)}
    tokenizer = Tokenizer(models.WordLevel(spelled, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<pad>",
        mask_token="<mask>",
    )
