import numpy as np
import pytest

from actpipe.errors import Misuse
from actpipe.store import create_store
from actpipe.store.splits import Documents, Text, documents, held_out_documents, opening
from tests.small_store import filled_store

FIRST, END = 1, 2


def stream(lengths_of, *, context, first):
    """Documents end to end, each closed by a separator; each sequence opened by a token where `first` is given."""
    tokens = np.concatenate([np.append(text, END) for text in lengths_of]).astype(np.int32)
    doc = np.repeat(np.arange(len(lengths_of), dtype=np.int32), [len(text) + 1 for text in lengths_of])
    room = context - (first is not None)
    whole = len(tokens) // room * room
    tokens, doc = tokens[:whole].reshape(-1, room), doc[:whole].reshape(-1, room)
    mask = tokens != END
    if first is not None:
        tokens = np.insert(tokens, 0, first, axis=1)
        doc = np.insert(doc, 0, doc[:, 0], axis=1)
        mask = np.insert(mask, 0, False, axis=1)
    else:
        mask[:, 0] = False
    return Text(tokens, doc, mask)


def pieces_of(text, size):
    return [Text(*(each[start : start + size] for each in text)) for start in range(0, len(text.doc), size)]


def hashes_of(text, size=10**6):
    pieces = pieces_of(text, size)
    return documents(pieces, opened=opening(pieces))


def texts(count, seed=0, longest=60):
    chance = np.random.default_rng(seed)
    return [chance.integers(3, 50, chance.integers(5, longest)) for _ in range(count)]


@pytest.mark.parametrize("first", [None, FIRST])
def test_equal_texts_have_equal_hashes_wherever_they_lie(first):
    several = texts(40)
    several[7] = several[21] = several[33] = several[2]
    found = hashes_of(stream([*several, texts(1, seed=9)[0]], context=16, first=first))
    equal = {number for number in range(40) if found.hashes[number] == found.hashes[2]}
    assert equal == {2, 7, 21, 33}
    assert len(np.unique(found.hashes[:40])) == 37


def test_the_order_of_the_tokens_decides_too():
    found = hashes_of(stream([np.array([5, 6, 7]), np.array([7, 6, 5]), np.arange(20)], context=4, first=None))
    assert found.hashes[0] != found.hashes[1]


@pytest.mark.parametrize("first", [None, FIRST])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_hashes_do_not_depend_on_the_pieces_in_which_the_text_is_read(first, size):
    text = stream(texts(30, longest=80), context=9, first=first)
    whole, cut = hashes_of(text), hashes_of(text, size)
    assert whole.numbers.tolist() == cut.numbers.tolist() == np.unique(text.doc[text.mask]).tolist()
    assert np.array_equal(whole.hashes, cut.hashes)


def test_padding_and_documents_without_rows_that_count_play_no_part():
    tokens = np.array([[5, 6, 0, 0], [5, 6, 9, 9], [8, 8, 8, 8]], np.int32)
    doc = np.array([[0, 0, -1, -1], [1, 1, -1, -1], [2, 2, 2, 2]], np.int32)
    found = documents([Text(tokens, doc, (doc >= 0) & (doc < 2))], opened=False)
    assert found.numbers.tolist() == [0, 1]
    assert found.hashes[0] == found.hashes[1]


def planted(count):
    return Documents(np.arange(count, dtype=np.int32), np.arange(count).astype(np.uint64) * np.uint64(12345))


def test_the_held_out_share_is_kept_and_each_document_keeps_its_side():
    held = held_out_documents(planted(20_000), 0.05)
    assert 900 < len(held) < 1100
    assert held.dtype == np.int32
    assert np.array_equal(held_out_documents(planted(10_000), 0.05), held[held < 10_000])
    assert np.isin(held, held_out_documents(planted(20_000), 0.1)).all()


def test_few_documents_still_give_two_sides():
    for count in range(2, 30):
        assert 0 < len(held_out_documents(planted(count), 0.01)) < count
        assert 0 < len(held_out_documents(planted(count), 0.99)) < count


def test_one_text_alone_cannot_be_split():
    one, same = np.zeros(1, np.int32), np.ones(3, np.uint64)
    with pytest.raises(Misuse, match="one document"):
        held_out_documents(Documents(one, same[:1]), 0.05)
    with pytest.raises(Misuse, match="same text"):
        held_out_documents(Documents(np.arange(3, dtype=np.int32), same), 0.05)
    with pytest.raises(Misuse, match="between 0 and 1"):
        held_out_documents(Documents(np.arange(3, dtype=np.int32), same), 1.0)


def test_a_store_holds_out_whole_documents_and_equal_ones_together(tmp_path):
    several = texts(200, longest=30)
    for i in range(0, 200, 2):
        several[i] = several[i // 20 * 20]  # ten texts, ten times each
    text = stream(several, context=8, first=FIRST)
    store = create_store(tmp_path / "store.zarr", **text._asdict(), hooks={"a": 4}, max_slab_bytes=2048)
    assert store.n_slabs > 3
    held_out = store.held_out(0.3)
    assert held_out.shape == text.mask.shape
    side = {number: set(held_out[(text.doc == number) & text.mask].tolist()) for number in np.unique(text.doc)}
    assert all(len(sides) <= 1 for sides in side.values())
    assert {True} in side.values()
    assert {False} in side.values()
    for i in range(0, 180, 2):
        assert side[i] == side[i // 20 * 20]


def test_the_split_of_a_store_is_the_same_each_time(tmp_path):
    store = filled_store(tmp_path / "store.zarr")
    assert np.array_equal(store.held_out(), filled_store(tmp_path / "other.zarr", max_slab_bytes=1).held_out())
