"""Batches of sequences: how they are cut, what padding becomes, and what happens when memory runs out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from actpipe.errors import Failure
from actpipe.harvest import batch_size
from actpipe.harvest.activations import activations, batches_of
from actpipe.harvest.batch_size import fastest
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.harvest.sites import Site, find_sites

HOOKS = ("blocks.0.hook_resid_post", "blocks.1.mlp.hook_post")


def loaded(folder: Path) -> tuple[LanguageModel, tuple[Site, ...]]:
    model = load_model(str(folder), dtype="float32", device="cpu")
    return model, find_sites(HOOKS, model.config, model.tokenizer)


def padded_text(model: LanguageModel, lengths: list[int], context: int = 16) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, len(model.tokenizer), (len(lengths), context)).astype(np.int32)
    present = np.arange(context) < np.array(lengths)[:, None]
    return tokens, np.where(present, 0, -1).astype(np.int32)


def rows_of(model: LanguageModel, sites: tuple[Site, ...], tokens: np.ndarray, doc: np.ndarray, size: int) -> dict:
    out = {site.hook: torch.full((tokens.size, site.width), torch.nan) for site in sites}
    done: list[float] = []
    with activations(model, sites, size) as computed:
        computed.fill(tokens, doc, out, done.append)
    assert sum(done) == tokens.size
    return out


def test_full_sequences_are_cut_in_order() -> None:
    cuts = [(chosen.tolist(), length) for chosen, length in batches_of(np.ones((5, 7), bool), 2)]
    assert cuts == [([0, 1], 7), ([2, 3], 7), ([4], 7)]


def test_padded_sequences_are_cut_by_length_the_longest_first() -> None:
    present = np.arange(40) < np.array([3, 40, 16, 33, 17, 0])[:, None]
    cuts = [(chosen.tolist(), length) for chosen, length in batches_of(present, 2)]
    assert cuts == [([1], 40), ([3], 40), ([4], 32), ([2], 16), ([0], 16), ([5], 1)]


def test_rows_of_padded_text_have_the_same_bits_whatever_shares_their_batch(saved_models: dict[str, Path]) -> None:
    model, sites = loaded(saved_models["bert"])
    tokens, doc = padded_text(model, [3, 40, 16, 33, 17, 29, 40, 5], context=40)
    whole = rows_of(model, sites, tokens, doc, 8)
    for number in range(8):
        alone = rows_of(model, sites, tokens[number : number + 1], doc[number : number + 1], 1)
        for hook, values in whole.items():
            assert torch.equal(values.view(8, 40, -1)[number], alone[hook].view(40, -1))


@pytest.mark.parametrize("family", ["gpt2", "bert"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_rows_do_not_depend_on_padding_or_on_the_batch(saved_models: dict[str, Path], family: str, size: int) -> None:
    model, sites = loaded(saved_models[family])
    lengths = [16, 4, 9, 9, 1]
    tokens, doc = padded_text(model, lengths)
    rows = rows_of(model, sites, tokens, doc, size)
    for number, length in enumerate(lengths):
        alone = rows_of(model, sites, tokens[number : number + 1, :length], doc[number : number + 1, :length], 1)
        for hook, values in rows.items():
            sequence = values.view(len(lengths), 16, -1)[number]
            torch.testing.assert_close(sequence[:length], alone[hook], rtol=1e-4, atol=1e-5)
            assert not sequence[length:].any()


def test_batches_are_halved_until_they_fit_and_the_rows_are_the_same(saved_models: dict[str, Path]) -> None:
    model, sites = loaded(saved_models["llama"])
    tokens, doc = padded_text(model, [16] * 7)
    expected = rows_of(model, sites, tokens, doc, 7)
    seen: list[int] = []

    def too_much(_: object, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
        seen.append(len(kwargs["input_ids"]))
        if seen[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = model.module.register_forward_pre_hook(too_much, with_kwargs=True)
    try:
        rows = rows_of(model, sites, tokens, doc, 7)
    finally:
        handle.remove()
    assert max(seen) == 7
    assert sum(size for size in seen if size <= 2) == 7
    for hook in rows:
        torch.testing.assert_close(rows[hook], expected[hook], rtol=1e-5, atol=1e-6)


def test_one_sequence_that_does_not_fit_is_a_sentence(saved_models: dict[str, Path]) -> None:
    model, sites = loaded(saved_models["llama"])
    tokens, doc = padded_text(model, [16, 16])

    def too_much(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    handle = model.module.register_forward_pre_hook(too_much)
    try:
        with pytest.raises(Failure, match=r"One sequence of 16 tokens does not fit .* Give a smaller --context"):
            rows_of(model, sites, tokens, doc, 2)
    finally:
        handle.remove()


class Clock:
    """A clock that only work moves: a sleep of this process is as long as the rest of the machine lets it be."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def work(self, seconds: float) -> bool:
        self.now += seconds
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(batch_size, "time", clock)
    return clock


def test_the_smallest_batch_that_is_nearly_the_fastest_is_taken(clock: Clock) -> None:
    tried: list[int] = []

    def run(size: int) -> bool:
        tried.append(size)
        return clock.work(0.016 + 0.001 * size if size <= 8 else 0.004 * size)  # 8 gains most, 16 loses

    trial = fastest(run, [1, 2, 4, 8, 16, 32], sequences=10**6)
    assert trial.batch_size == 8
    assert 32 not in tried
    assert trial.sequences_per_second == pytest.approx(8 / 0.024)


def test_a_short_harvest_is_not_kept_waiting_by_the_search(clock: Clock) -> None:
    fastest(lambda size: clock.work(0.01), [1, 2, 4, 8, 16, 32], sequences=100)  # a second of work
    assert 0 < clock.now < 0.3


def test_the_search_ends_where_memory_does(clock: Clock) -> None:
    many = 10**6
    assert fastest(lambda size: clock.work(0.01) and size < 4, [1, 2, 4, 8], sequences=many).batch_size == 2
    nothing = fastest(lambda size: False, [1, 2], sequences=many)
    assert (nothing.batch_size, nothing.sequences_per_second) == (1, 0.0)
