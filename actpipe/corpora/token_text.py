"""The text of every token, for people: exact where a token is valid UTF-8, `<0xE2>` where it is part of a letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def token_texts(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Text of token i at index i, spaces and newlines as they are."""
    decoder = _byte_decoder()
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    # SentencePiece-style vocabularies mark spaces with ▁, byte-level ones map every byte to a printable letter.
    byte_level = any("Ġ" in piece for piece in pieces if piece)
    special = set(tokenizer.all_special_tokens)
    return [_readable(piece or "", byte_level and piece not in special, decoder) for piece in pieces]


def _readable(piece: str, byte_level: bool, decoder: dict[str, int]) -> str:
    if not byte_level:
        return piece.replace("▁", " ")
    if any(letter not in decoder for letter in piece):
        return piece  # an added token, spelled in plain text
    raw = bytes(decoder[letter] for letter in piece)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return "".join(chr(byte) if 32 <= byte < 127 else f"<0x{byte:02X}>" for byte in raw)


def _byte_decoder() -> dict[str, int]:
    """Inverse of GPT-2's byte alphabet: printable bytes stand for themselves, the other 68 move to U+0100 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    moved = (byte for byte in range(256) if byte not in set(printable))
    return table | {chr(0x100 + offset): byte for offset, byte in enumerate(moved)}
