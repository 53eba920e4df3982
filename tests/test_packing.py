"""Text → sequences: where special tokens stand, which rows count, and that neither depends on how the text arrives."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actpipe.corpora import tokenising
from actpipe.corpora.packing import BLOCK_TOKENS, Packed, PackingPolicy, pack, policy_for
from actpipe.corpora.spool import Spool
from actpipe.errors import Failure, Misuse
from tests.conftest import sentences
from tests.peak_memory import PEAK_BYTES, needs_proc


def packed(texts: list[str], tokenizer: Any, policy: PackingPolicy, sequences: int = 10**6) -> Packed:
    blocks = list(pack(texts, tokenizer, policy, sequences=sequences))
    return Packed(*(np.concatenate([getattr(block, name) for block in blocks]) for name in ("tokens", "doc", "mask")))


def ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return found


def wrapped(trained: Any, **special: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=trained, **special)


def trained_bpe(*special: str) -> Any:
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(sentences(200, seed=2), vocab_size=400, special_tokens=list(special))
    return bpe._tokenizer


def bert_tokenizer() -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(sentences(200, seed=2), vocab_size=200)
    return BertTokenizer(vocab=pieces.get_vocab())


def t5_tokenizer() -> Any:
    from tokenizers import SentencePieceUnigramTokenizer

    unigram = SentencePieceUnigramTokenizer()
    unigram.train_from_iterator(
        sentences(200, seed=2), vocab_size=200, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    return wrapped(unigram._tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def llama2_tokenizer() -> Any:
    """Puts a space before every text, and a BOS when it may."""
    from tokenizers import SentencePieceBPETokenizer, normalizers, processors

    bpe = SentencePieceBPETokenizer()
    bpe.train_from_iterator(sentences(200, seed=2), vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"])
    bpe._tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe._tokenizer.pre_tokenizer = None
    bpe._tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return wrapped(bpe._tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {"bert": bert_tokenizer, "t5": t5_tokenizer, "llama2": llama2_tokenizer}


@pytest.fixture(scope="session", params=["gpt2", *TOKENIZERS])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    return TOKENIZERS[request.param]() if request.param in TOKENIZERS else tokenizer


# Where tokens stand


def test_documents_are_laid_end_to_end_and_every_boundary_is_kept(tokenizer: Any) -> None:
    texts = sentences(30, seed=3)
    got = packed(texts, tokenizer, policy_for(tokenizer, 16))
    for number in range(got.doc.max()):  # the last document may be cut off
        own = got.tokens[:, 1:][(got.doc[:, 1:] == number) & got.mask[:, 1:]]
        assert tokenizer.decode(own) == texts[number]


def test_a_stream_by_hand(tokenizer: Any) -> None:
    one, two = (ids(tokenizer, text) for text in ("the king", "a"))
    stream = [*one, 0, *two, 0]
    half = len(stream) // 2
    got = packed(["the king", "a"], tokenizer, policy_for(tokenizer, half + 1))
    assert got.tokens.tolist() == [[0, *stream[:half]], [0, *stream[half : 2 * half]]]
    assert got.mask.sum() == sum(token != 0 for token in stream[: 2 * half])
    assert got.doc[0, 1] == 0
    assert got.doc[1, -1] == 1


def test_documents_by_hand() -> None:
    tokenizer = bert_tokenizer()
    begin, end, pad = (tokenizer.convert_tokens_to_ids(name) for name in ("[CLS]", "[SEP]", "[PAD]"))
    the, king, a = ids(tokenizer, "the king a")
    got = packed(["the king a", "", "the king", "a"], tokenizer, policy_for(tokenizer, 4, style="documents"))
    assert got.tokens.tolist() == [
        [begin, the, king, end],
        [begin, a, end, pad],
        [begin, the, king, end],
        [begin, a, end, pad],
    ]
    assert got.doc.tolist() == [[0, 0, 0, 0], [0, 0, 0, -1], [2, 2, 2, 2], [3, 3, 3, -1]]
    assert got.mask.tolist() == [[False, True, True, False], [False, True, False, False]] * 2


def rows_by_hand(texts: list[list[int]], policy: PackingPolicy) -> Iterator[list[tuple[int, int, bool]]]:
    """The slow, obvious way: sequences of (token, document, counts)."""
    opening = [] if policy.first is None else [policy.first]
    closing = [] if policy.separator is None else [policy.separator]

    def sequence(body: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
        row = [(token, body[0][1], False) for token in opening] + body
        row += [(policy.pad, -1, False)] * (policy.context - len(row))
        return [(token, doc, counts and at >= policy.sink_positions) for at, (token, doc, counts) in enumerate(row)]

    def cut(body: list[tuple[int, int, bool]], room: int) -> list[list[tuple[int, int, bool]]]:
        return [body[at : at + room] for at in range(0, len(body), room)]

    room = policy.context - len(opening)
    if policy.style == "stream":
        stream = []
        for number, text in enumerate(texts):
            stream += [(token, number, True) for token in text]
            stream += [(token, number, False) for token in closing if text]
        yield from (sequence(part) for part in cut(stream, room) if len(part) == room)
        return
    for number, text in enumerate(texts):
        for part in cut([(token, number, True) for token in text], room - len(closing)):
            yield sequence([*part, *((token, number, False) for token in closing)])


@pytest.mark.parametrize("style", ["stream", "documents"])
@pytest.mark.parametrize("first", ["auto", "none", "the"])
@pytest.mark.parametrize("separator", ["auto", "none", "Ġking"])
@pytest.mark.parametrize("sink_positions", [0, 1, 3])
def test_every_policy_packs_as_by_hand(
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    style: Any,
    first: str,
    separator: str,
    sink_positions: int,
) -> None:
    draw = random.Random(5)
    texts = ["" if draw.random() < 0.1 else text * draw.choice((1, 1, 1, 20)) for text in sentences(300, seed=5)]
    policy = policy_for(tokenizer, 11, style=style, first=first, separator=separator, sink_positions=sink_positions)
    # Small calls and blocks, so that documents and sequences cross their borders.
    monkeypatch.setattr(tokenising, "CHARACTERS_PER_CALL", 900)
    monkeypatch.setattr("actpipe.corpora.packing.BLOCK_TOKENS", 50)
    got = packed(texts, tokenizer, policy)
    expected = np.array(list(rows_by_hand([ids(tokenizer, text) for text in texts], policy)))
    assert np.array_equal(np.stack([got.tokens, got.doc, got.mask], axis=-1), expected)
    assert ((got.doc == -1) <= ~got.mask).all()
    assert got.mask.any()


def test_packing_stops_at_the_asked_number_of_sequences_and_is_a_prefix_of_more(tokenizer: Any) -> None:
    texts = sentences(300, seed=4)
    for style in ("stream", "documents"):
        policy = policy_for(tokenizer, 16, style=style)  # type: ignore[arg-type]
        few, many = packed(texts, tokenizer, policy, sequences=5), packed(texts, tokenizer, policy, sequences=50)
        assert len(few.tokens) == 5
        for name in ("tokens", "doc", "mask"):
            assert (getattr(few, name) == getattr(many, name)[:5]).all()


def test_no_more_documents_are_read_than_are_needed(tokenizer: Any) -> None:
    endless = (text for text in itertools.cycle(sentences(50, seed=1)))
    blocks = list(pack(endless, tokenizer, policy_for(tokenizer, 16), sequences=10_000))
    assert sum(len(block.tokens) for block in blocks) == 10_000
    assert max(block.tokens.size for block in blocks) <= BLOCK_TOKENS


def test_a_text_shorter_than_a_sequence_packs_to_nothing_and_no_text_at_all_is_refused(tokenizer: Any) -> None:
    policy = PackingPolicy(context=64, first=0, separator=0)
    assert not list(pack(["a"], tokenizer, policy, sequences=3))
    for texts in ([], ["", ""]):
        with pytest.raises(Misuse, match="The dataset holds no text"):
            list(pack(texts, tokenizer, policy, sequences=3))


# Which special tokens


def test_a_tokenizer_with_bos_and_eos_uses_both() -> None:
    policy = policy_for(llama2_tokenizer(), 8)
    assert (policy.first, policy.separator) == (1, 2)


def test_a_bos_of_number_0_is_a_bos() -> None:
    tokenizer = wrapped(trained_bpe("<|bos|>", "<|eos|>"), bos_token="<|bos|>", eos_token="<|eos|>")
    policy = policy_for(tokenizer, 8)
    assert (policy.first, policy.separator) == (0, 1)
    assert policy.describe()["first"] == {"id": 0, "text": "<|bos|>"}


def test_a_tokenizer_without_bos_opens_with_its_eos() -> None:
    policy = policy_for(wrapped(trained_bpe("x", "<|eos|>"), eos_token="<|eos|>"), 8)
    assert (policy.first, policy.separator) == (1, 1)


def test_a_tokenizer_without_any_special_token_packs_when_told_that_there_is_none() -> None:
    tokenizer = wrapped(trained_bpe())
    with pytest.raises(Misuse, match="Give --first none --separator none, or the text of one token"):
        policy_for(tokenizer, 8)
    with pytest.raises(Misuse, match="Give --separator none, or"):
        policy_for(tokenizer, 8, first="none")
    texts = sentences(20, seed=1)
    for style in ("stream", "documents"):
        policy = policy_for(tokenizer, 8, style=style, first="none", separator="none")  # type: ignore[arg-type]
        got = packed(texts, tokenizer, policy)
        for number in range(got.doc.max()):
            assert tokenizer.decode(got.tokens[got.doc == number]) == texts[number]
        assert not got.mask[:, 0].any()  # the first position is a sink whatever stands there
        assert got.mask[:, 1:].sum() == (got.doc[:, 1:] >= 0).sum()


def test_the_token_that_starts_a_decoder_opens_its_sequences_unless_another_is_asked_for() -> None:
    tokenizer = t5_tokenizer()
    policy = policy_for(tokenizer, 8, style="documents", opening=0)
    assert (policy.first, policy.separator, policy.pad) == (0, 1, 0)
    got = packed(["the king"], tokenizer, policy)
    # The start token and the padding have one number; doc tells them apart.
    assert (got.tokens[0, 0], got.doc[0, 0]) == (0, 0)
    assert set(got.tokens[got.doc == -1].tolist()) == {0}
    assert policy_for(tokenizer, 8, first="</s>", opening=0).first == 1
    assert policy_for(tokenizer, 8, first="none", opening=0).first is None


def test_a_special_token_may_be_given_as_the_text_of_one_token(tokenizer: Any) -> None:
    policy = policy_for(tokenizer, 8, first="the", separator=" king")
    assert policy.describe()["first"]["text"] == "the"
    assert policy.describe()["separator"]["text"] == " king"
    with pytest.raises(Misuse, match=r"--separator 'kingdom come' is not one token .* but \['"):
        policy_for(tokenizer, 8, separator="kingdom come")
    with pytest.raises(Misuse, match=r"--first '\u2603' is not one token .* but \['\[UNK\]'\]"):
        policy_for(bert_tokenizer(), 8, first="\u2603")


def test_a_separator_that_also_occurs_in_the_text_counts_there(tokenizer: Any) -> None:
    policy = policy_for(tokenizer, 8, separator=" king")
    got = packed(["the king the king"] * 20, tokenizer, policy)
    kings = got.tokens == policy.separator
    assert 0 < got.mask[kings].sum() < kings.sum()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"context": 1}, "A context of 1 leaves no room for text beside its special tokens; use 2 or more"),
        ({"context": 2, "style": "documents"}, "use 3 or more"),
        ({"sink_positions": 8}, "With --sink-positions 8 no row of a context of 8 would count; give 0 to 7"),
        ({"sink_positions": 7, "style": "documents"}, "give 0 to 6"),
        ({"sink_positions": -1}, "With --sink-positions -1"),
        ({"style": "dense"}, "The packing 'dense' is not known; use stream or documents"),
    ],
)
def test_a_policy_that_leaves_no_row_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence):
        PackingPolicy(**{"context": 8, "first": 0, "separator": 0} | change)


def test_a_policy_describes_itself_in_words_that_a_store_keeps() -> None:
    described = policy_for(bert_tokenizer(), 8, style="documents", sink_positions=2).describe()
    assert described == {
        "style": "documents",
        "context": 8,
        "first": {"id": 2, "text": "[CLS]"},
        "separator": {"id": 3, "text": "[SEP]"},
        "pad": {"id": 0, "text": "[PAD]"},
        "sink_positions": 2,
        "layout": "one document a sequence, a longer one continued in the next, "
        "each sequence closed by the separator, every sequence opened by the first token",
        "masked": "the first token, separators, padding (doc = -1), the first 2 positions of every sequence",
    }
    bare = policy_for(wrapped(trained_bpe()), 8, first="none", separator="none", sink_positions=0).describe()
    assert (bare["layout"], bare["masked"], bare["pad"]) == ("documents end to end", "nothing", None)


# The tokens are the tokenizer's own


def test_tokens_are_those_of_the_tokenizer_without_special_ones(any_tokenizer: Any) -> None:
    texts = [*sentences(40, seed=8), " two  spaces\n\n and <s> [CLS] </s> <|endoftext|> ", "é\u0301 \u2603 王"]
    policy = policy_for(any_tokenizer, 9, style="documents", separator="none")
    got = packed(texts, any_tokenizer, policy)
    for number, text in enumerate(texts):
        assert got.tokens[:, 1:][got.doc[:, 1:] == number].tolist() == ids(any_tokenizer, text)


def test_text_that_spells_a_special_token_stays_text(tokenizer: Any) -> None:
    got = packed(["the <|endoftext|> king " * 10], tokenizer, policy_for(tokenizer, 8))
    assert (got.tokens[:, 1:] != tokenizer.eos_token_id).all()


def test_a_tokenizer_that_adds_a_bos_by_itself_gets_one_and_not_two() -> None:
    tokenizer = llama2_tokenizer()
    assert tokenizer("the king")["input_ids"][0] == 1
    got = packed(["the king"] * 10, tokenizer, policy_for(tokenizer, 8))
    assert (got.tokens[:, 0] == 1).all()
    assert (got.tokens[:, 1:] != 1).all()


def test_a_tokenizer_saved_with_truncation_loses_nothing_and_is_left_as_it_was() -> None:
    tokenizer = wrapped(trained_bpe("<|eos|>"), eos_token="<|eos|>")
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(length=5)
    before = tokenizer.backend_tokenizer.to_str()
    text = " ".join(sentences(10, seed=1))
    got = packed([text], tokenizer, policy_for(tokenizer, 8, style="documents"))
    assert tokenizer.decode(got.tokens[got.mask]) == text
    assert tokenizer.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("separated_by", [" ", "\n\n", ""])
def test_a_document_tokenised_in_pieces_has_the_tokens_of_the_whole(
    any_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, separated_by: str
) -> None:
    monkeypatch.setattr(tokenising, "LONGEST_PIECE", 500)
    text = separated_by.join(sentences(100, seed=9))
    runs = list(tokenising.tokenised([text, "the king"], any_tokenizer))
    stream = np.concatenate([run.ids for run in runs]).tolist()
    assert len(text) > 10_000
    assert stream == [*ids(any_tokenizer, text), tokenising.END, *ids(any_tokenizer, "the king"), tokenising.END]


def test_a_text_that_has_no_place_for_a_cut_is_cut_anyway(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenising, "LONGEST_PIECE", 500)
    monkeypatch.setattr(tokenising, "_SEAM_SEARCH", 1)
    text = "themountainhousegarden" * 200
    got = packed([text], tokenizer, policy_for(tokenizer, 8, style="documents"))
    assert tokenizer.decode(got.tokens[got.mask]) == text


def test_a_piece_without_tokens_neither_ends_nor_begins_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenising, "LONGEST_PIECE", 500)
    tokenizer = bert_tokenizer()  # to which spaces are nothing
    blank = " " * 2000
    stream = [run.ids.tolist() for run in tokenising.tokenised([blank, f"{blank}king{blank}", blank], tokenizer)]
    assert list(itertools.chain(*stream)) == [*ids(tokenizer, "king"), tokenising.END]


# Memory


def test_a_spool_gives_back_what_was_put_in_and_leaves_nothing(tokenizer: Any, tmp_path: Path) -> None:
    texts, policy = sentences(400, seed=6), policy_for(tokenizer, 16, style="documents")
    whole = packed(texts, tokenizer, policy)
    with Spool(16, folder=tmp_path) as spool:
        assert spool.tokens[:].shape == (0, 16)
        for block in pack(texts, tokenizer, policy, sequences=10**6):
            spool.append(block)
        assert spool.sequences == len(spool.doc) == len(whole.tokens)
        for name in ("tokens", "doc", "mask"):
            array, expected = getattr(spool, name), getattr(whole, name)
            assert (array.shape, array.dtype, array.size) == (expected.shape, expected.dtype, expected.size)
            for piece in (slice(None), slice(3, 77), slice(-5, None), slice(9, 9), slice(5, 10**9)):
                assert np.array_equal(array[piece], expected[piece])
                assert array[piece].dtype == expected.dtype
    assert list(tmp_path.iterdir()) == []
    assert spool.tokens.file.closed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_a_spool_is_one_sentence() -> None:
    block = Packed(np.zeros((4, 8), np.int32), np.zeros((4, 8), np.int32), np.zeros((4, 8), np.bool_))
    with Spool(8) as spool:
        spool.tokens.file.close()
        spool.tokens.file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        with pytest.raises(Failure, match="is full with the tokens of the text"):
            spool.append(block)


SPOOL = (
    PEAK_BYTES
    + """
import sys, time
from itertools import cycle
from types import SimpleNamespace
from tokenizers import Tokenizer
from actpipe.corpora.packing import PackingPolicy, pack
from actpipe.corpora.spool import Spool
tokenizer = SimpleNamespace(backend_tokenizer=Tokenizer.from_file(sys.argv[1]))
texts = open(sys.argv[2]).read().splitlines()
policy = PackingPolicy(context=128, first=0, separator=0)
for tokens in map(int, sys.argv[4:]):
    documents = cycle(texts) if sys.argv[3] == "short" else [" ".join(texts) * (1 + tokens // 10_000)]
    began = time.perf_counter()
    with Spool(128) as spool:
        for block in pack(documents, tokenizer, policy, sequences=tokens // 128):
            spool.append(block)
        for start in range(0, spool.sequences, 1000):
            spool.tokens[start : start + 1000]
        print(spool.sequences * 128, peak_bytes(), round(time.perf_counter() - began, 2))
"""
)


def spooled(folder: Path, kind: str, *tokens: int) -> list[tuple[int, int, float]]:
    """For each run in one process: tokens packed and spooled, the process's peak memory in bytes so far, seconds."""
    trained_bpe("<|eos|>").save(str(folder / "tokenizer.json"))
    (folder / "texts").write_text("\n".join(sentences(500, seed=1)))
    arguments = [str(folder / "tokenizer.json"), str(folder / "texts"), kind, *map(str, tokens)]
    lines = subprocess.run([sys.executable, "-c", SPOOL, *arguments], capture_output=True, check=True, text=True).stdout
    return [(int(count), int(peak), float(seconds)) for count, peak, seconds in map(str.split, lines.splitlines())]


@needs_proc
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    few, many = spooled(tmp_path, "short", 10**5, 10**6)
    assert (few[0], many[0]) == (99_968, 1_000_000 // 128 * 128)
    assert many[1] < few[1] + 4e6  # its arrays are 9 MB


@needs_proc
@pytest.mark.slow
def test_memory_stays_flat_to_ten_million_tokens_and_in_one_document_of_tens_of_megabytes(tmp_path: Path) -> None:
    few, many = spooled(tmp_path, "short", 10**5, 10**7)
    *_, long = spooled(tmp_path, "long", 10**5, 10**7)
    print(few, many, long)
    assert many[0] == long[0] == 10**7 // 128 * 128
    assert many[1] < few[1] + 10e6
    assert long[1] < few[1] + 150e6  # the document itself is a third of that
