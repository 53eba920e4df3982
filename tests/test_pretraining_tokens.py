"""Text becomes token files once: every document whole, in its split, and the same files the next time."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import actpipe
from actpipe.errors import Damaged, Misuse
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.source import Source
from actpipe.pretraining.tasks import Batch, LanguageModelling, Task
from actpipe.pretraining.texts import Examples, Texts, Vocabulary
from actpipe.pretraining.token_files import TRAIN, VALIDATION, TokenFolder, dtype_for
from actpipe.pretraining.tokenise import is_held_out, tokens_of
from actpipe.pretraining.tokenizers import END, tokenizer_for, trained, vocabulary_of
from actpipe.progress import silent
from tests.conftest import sentences


@dataclass(frozen=True, kw_only=True)
class Pairs(Task):
    """Reads two columns; its batches are not asked for here."""

    name: ClassVar[str] = "pairs"
    reads: ClassVar[Any] = "decoder"

    def columns(self, text_field: str) -> tuple[str, ...]:
        return ("source", "target")

    def n_examples(self, texts: Texts, context: int) -> int:
        return len(texts)

    def batch(self, texts: Texts, examples: Examples, vocabulary: Vocabulary, *, context: int) -> Batch:
        raise NotImplementedError


def written(path: Path, documents: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    return path


def tokens(dataset: Path, tokenizer: Any, cache: Path, *, task: Task | None = None, share: float = 0.2) -> TokenFolder:
    source = Source.of(TrainLMConfig(dataset=str(dataset)), task or LanguageModelling())
    return tokens_of(source, tokenizer, end=tokenizer.eos_token_id, share=share, cache=cache, progress=silent)


def parts(folder: TokenFolder) -> dict[str, list[list[int]]]:
    """Tokens of each document by split."""
    found = {}
    for split in (TRAIN, VALIDATION):
        texts = folder.texts(split)
        found[split] = [texts.part(document).tolist() for document in range(len(texts))]
    return found


def test_every_document_is_in_one_split_whole_and_closed(tmp_path: Path, tokenizer: Any) -> None:
    documents = [*sentences(50, seed=3), "", *sentences(50, seed=4)]
    found = parts(tokens(written(tmp_path / "a.jsonl", documents), tokenizer, tmp_path / "tokens"))
    expected = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in documents]
    expected.remove([tokenizer.eos_token_id])  # the empty document is no text
    assert sorted(found[TRAIN] + found[VALIDATION]) == sorted(expected)
    assert [one for one in expected if one in found[TRAIN]] == found[TRAIN]  # in their order
    assert 5 < len(found[VALIDATION]) < 40
    stream = [token for document in found[TRAIN] for token in document]
    assert tokens(tmp_path / "a.jsonl", tokenizer, tmp_path / "tokens").texts(TRAIN).tokens.tolist() == stream


def test_a_document_is_in_the_same_split_of_every_dataset(tmp_path: Path, tokenizer: Any) -> None:
    documents = sentences(100, seed=3)
    one = parts(tokens(written(tmp_path / "a.jsonl", documents), tokenizer, tmp_path))
    other = parts(tokens(written(tmp_path / "b.jsonl", documents[::-2]), tokenizer, tmp_path))
    for split in (TRAIN, VALIDATION):
        assert {tuple(document) for document in other[split]} < {tuple(document) for document in one[split]}


def test_validation_is_never_empty() -> None:
    hashes = np.array([2**63, 2**62, 2**64 - 1], np.uint64)
    assert is_held_out(hashes, 0.5).tolist() == [False, True, False]
    assert is_held_out(hashes, 0.6).tolist() == [True, True, False]
    assert is_held_out(hashes, 0.001).tolist() == [False, True, False]


def test_token_files_are_opened_again_and_not_written_again(tmp_path: Path, tokenizer: Any) -> None:
    dataset = written(tmp_path / "a.jsonl", sentences(30, seed=3))
    first = tokens(dataset, tokenizer, tmp_path / "tokens")
    before = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "tokens").rglob("*"))}
    assert tokens(dataset, tokenizer, tmp_path / "tokens").path == first.path
    assert {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "tokens").rglob("*"))} == before
    assert {path.name for path in first.path.iterdir()} == {
        "header.json", "train.tokens", "train.bounds.npy", "validation.tokens", "validation.bounds.npy",
    }  # fmt: skip
    others = [
        tokens(dataset, tokenizer, tmp_path / "tokens", share=0.3),
        tokens(written(tmp_path / "a.jsonl", sentences(30, seed=4)), tokenizer, tmp_path / "tokens"),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_columns_are_read_side_by_side(tmp_path: Path, tokenizer: Any) -> None:
    pairs = [*zip(sentences(40, seed=5), sentences(40, seed=6), strict=True), ("no answer", "")]
    lines = [json.dumps({"source": source, "target": target}) for source, target in pairs]
    (tmp_path / "pairs.jsonl.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    folder = tokens(tmp_path / "pairs.jsonl.xz", tokenizer, tmp_path / "tokens", task=Pairs())
    found = []
    for split in (TRAIN, VALIDATION):
        texts = folder.texts(split)
        for i in range(len(texts)):
            read = tuple(texts.part(i, column) for column in (0, 1))
            assert all(part[-1] == tokenizer.eos_token_id for part in read)
            found.append(tuple(tokenizer.decode(part[:-1]) for part in read))
    assert sorted(found) == sorted(pairs[:-1])  # a pair with an empty text is no example


def test_columns_that_are_not_there_are_named(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"source": "one"}\n')
    with pytest.raises(Misuse, match="target"):
        tokens(tmp_path / "pairs.jsonl", tokenizer, tmp_path / "tokens", task=Pairs())
    assert not list((tmp_path / "tokens").glob("*"))  # nothing half-written stays


def test_a_single_document_cannot_be_split(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(Misuse, match="has 1 documents with text; one is needed to train on and another"):
        tokens(written(tmp_path / "a.jsonl", ["one"]), tokenizer, tmp_path / "tokens")


def test_token_files_that_were_cut_are_named(tmp_path: Path, tokenizer: Any) -> None:
    dataset = written(tmp_path / "a.jsonl", sentences(30, seed=3))
    path = tokens(dataset, tokenizer, tmp_path / "tokens").path
    os.truncate(path / "train.tokens", 10)
    with pytest.raises(Damaged, match=r"train\.tokens is not whole \(10 bytes\)"):
        tokens(dataset, tokenizer, tmp_path / "tokens").texts(TRAIN)
    (path / "header.json").write_text("{")
    with pytest.raises(Damaged, match="Remove that folder"):
        tokens(dataset, tokenizer, tmp_path / "tokens")


def test_tokens_take_as_few_bytes_as_hold_them() -> None:
    assert [dtype_for(size).itemsize for size in (400, 65536, 65537)] == [2, 2, 4]


TRAIN_TOKENIZER = """
import sys
from actpipe.pretraining.tokenizers import trained
from tests.conftest import sentences
sys.stdout.write(trained(sentences(300, seed=7), 330, ("<|endoftext|>",)))
"""


def test_a_tokenizer_trained_twice_is_the_same() -> None:
    """In processes with different seeds of hashing, and different numbers of threads."""
    root = str(Path(actpipe.__file__).parent.parent)
    texts = [
        subprocess.run(
            [sys.executable, "-c", TRAIN_TOKENIZER],
            env=os.environ | {"PYTHONPATH": root, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": seed,
                              "TOKENIZERS_PARALLELISM": "true"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert texts[0] == texts[1] == trained(sentences(300, seed=7), 330, (END,))


def test_a_trained_tokenizer_reads_any_text_back_and_opens_as_a_fast_one(tmp_path: Path, text_file: Path) -> None:
    from transformers import AutoTokenizer

    config = TrainLMConfig(dataset=str(text_file), vocabulary=300, out=tmp_path / "lm")
    task = LanguageModelling()
    made = tokenizer_for(config, task, Source.of(config, task), silent)
    made.save_pretrained(tmp_path / "saved")
    opened = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert opened.is_fast
    assert len(opened) == 300
    for text in ("the old king said café", "snow ❄ 雪\n\n  two  spaces", END):
        ids = opened.encode(text, add_special_tokens=False)
        assert opened.decode(ids) == text
        assert ids == made.encode(text, add_special_tokens=False)
    assert opened.eos_token == opened.bos_token == END
    assert vocabulary_of(opened, task) == Vocabulary(300, opened.eos_token_id, {})
    (kept,) = (tmp_path / "tokens").glob("tokenizer-*.json")
    before = kept.stat().st_mtime_ns
    tokenizer_for(config, task, Source.of(config, task), silent)
    assert kept.stat().st_mtime_ns == before


def test_a_vocabulary_smaller_than_the_bytes_is_refused(text_file: Path, tmp_path: Path) -> None:
    config = TrainLMConfig(dataset=str(text_file), vocabulary=200, out=tmp_path / "lm")
    with pytest.raises(Misuse, match="bytes and special tokens are 257 already"):
        tokenizer_for(config, LanguageModelling(), Source.of(config, LanguageModelling()), silent)
