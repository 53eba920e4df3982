"""The filter against sums over everything hidden, against the frequencies of the language, and against models of it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse
from actpipe.factorlang import Document, Language, bayes_cross_entropy, documents, predictions, surprisals
from tests import factorlang_by_hand

REDUCED = Language(words=9, languages=2, styles=2, speakers=2, topics=2, facts=2, switch=0.2, noise=0.3, copy=0.5)


@pytest.fixture(scope="module")
def made() -> list[Document]:
    return list(documents(0, 0, 64))


def test_the_filter_is_the_sum_over_everything_hidden() -> None:
    """P(document) of 12 documents of a reduced language, each over 2³ · 2⁹ settings of the hidden and all copies."""
    chosen = list(documents(0, 0, 12, language=REDUCED))
    assert sum(bool((d.trace.source > 0).any()) for d in chosen) >= 3
    assert any(d.trace.noise.any() for d in chosen)
    filtered = np.exp(-surprisals(chosen).sum(1))
    by_hand = [factorlang_by_hand.probability(d.words.tolist(), REDUCED) for d in chosen]
    assert filtered == pytest.approx(by_hand, rel=1e-9)


def test_long_documents_agree_with_the_grammar_by_hand() -> None:
    """Brackets three deep and whatever else comes in 120 words. One topic: 96 settings of the hidden remain."""
    single = Language(words=120, topics=1, switch=0.0, copy=0.3)
    chosen = [d for d in documents(1, 0, 100, language=single) if d.trace.depth.max() >= 3][:4]
    chosen += documents(1, 100, 106, language=single)
    assert len({d.style for d in chosen}) > 2
    assert len({d.language for d in chosen}) > 1
    filtered = surprisals(chosen).sum(1)
    by_hand = [-math.log(factorlang_by_hand.probability(d.words.tolist(), single)) for d in chosen]
    assert filtered == pytest.approx(by_hand, rel=1e-9)


def test_every_distribution_sums_to_one_and_holds_the_word_that_came(made: list[Document]) -> None:
    few = list(documents(2, 0, 16, language=Language(words=64)))
    p = predictions(few)
    assert p.sum(-1) == pytest.approx(1.0, abs=1e-12)
    assert (p[..., :4] == 0).all()  # special tokens are no words
    words = np.stack([d.words for d in few])
    assert -np.log(np.take_along_axis(p, words[..., None], 2)[..., 0]) == pytest.approx(surprisals(few), rel=1e-9)


def test_what_is_predicted_with_probability_p_comes_with_frequency_p() -> None:
    """Over 4,800 words of a language with short documents: in bins of p, and mean −log p against mean entropy."""
    short = Language(words=48, noise=0.1, copy=0.3)
    chosen = list(documents(3, 0, 100, language=short))
    p = predictions(chosen)
    words = np.stack([d.words for d in chosen])
    came = np.zeros(p.shape, np.bool_)
    np.put_along_axis(came, words[..., None], True, 2)
    for low, high in [(1e-5, 1e-3), (1e-3, 1e-2), (1e-2, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 0.999)]:
        inside = (p >= low) & (p < high)
        expected, deviation = p[inside].sum(), np.sqrt((p[inside] * (1 - p[inside])).sum())
        assert abs(came[inside].sum() - expected) < 4 * deviation, (low, high)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(-1)
    difference = (surprisals(chosen) - entropy).mean(1)  # a martingale's: mean zero
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))
    assert difference.std() / math.sqrt(len(difference)) < 0.03


def test_what_is_hidden_is_worth_something_and_never_costs(made: list[Document]) -> None:
    found = bayes_cross_entropy(made)
    assert found.n_words == 64 * 255
    assert 1.5 < found.oracle < found.bayes - 0.05 < 3.0
    assert found.bayes_error < 0.05


def test_more_of_a_document_makes_the_rest_more_predictable(made: list[Document]) -> None:
    """Language, topic, style, speaker and facts are learnt on the way."""
    by_place = surprisals(made).mean(0)
    assert by_place[:8].mean() > by_place[128:].mean() + 0.2


def test_no_n_gram_model_of_a_million_words_comes_near(made: list[Document]) -> None:
    train = np.stack([d.words for d in documents(7, 0, 4000)])
    held_out = np.stack([d.words for d in made])
    one, two, three = (n_gram_cross_entropy(train, held_out, n) for n in (1, 2, 3))
    bayes = bayes_cross_entropy(made).bayes
    assert one > two + 0.5
    assert min(two, three) > bayes + 0.5


def n_gram_cross_entropy(train: NDArray[np.int64], held_out: NDArray[np.int64], order: int) -> float:
    """Nats a word, Witten–Bell: p(w|h) = (c(h,w) + t(h) p(w|h')) / (c(h) + t(h)), t the distinct words seen after h."""
    p = np.full(held_out.shape, 1 / 2048)
    for n in range(1, order + 1):
        seen, asked = codes(train, n), codes(held_out, n)
        grams, times = np.unique(seen, return_counts=True)
        c = lookup(*np.unique(seen // 2048, return_counts=True), asked // 2048)
        t = lookup(*np.unique(grams // 2048, return_counts=True), asked // 2048)
        times = lookup(grams, times, asked)
        p = np.where(c > 0, (times + t * p) / np.maximum(c + t, 1), p)
    return float(-np.log(p).mean())


def codes(words: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Each word with the n − 1 before it as one number; word 0 stands before a document."""
    padded = np.concatenate([np.zeros((len(words), n - 1), np.int64), words], 1)
    return sum(padded[:, i : i + words.shape[1]] * 2048 ** (n - 1 - i) for i in range(n))


def lookup(keys: NDArray[np.int64], values: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.int64]:
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)


def test_words_that_cannot_stand_there_are_refused(made: list[Document]) -> None:
    words = made[0].words.copy()
    words[3] = 2047 if words[3] != 2047 else 2046
    words[4] = words[3]
    broken = Document(**{**vars(made[0]), "words": words})
    with pytest.raises(Misuse, match="cannot stand there"):
        surprisals([broken])
    with pytest.raises(Misuse, match="different FactorLangs"):
        surprisals([made[0], *documents(0, 0, 1, language=Language(words=255, topics=2))])
    with pytest.raises(Misuse, match="no document"):
        surprisals([])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_small_trained_model_stays_above_the_bayes_cross_entropy() -> None:
    """A GPT of two layers and 300 steps has learnt more than which words are frequent, and less than there is."""
    from transformers import GPT2Config, GPT2LMHeadModel

    short = Language(words=127)
    held_out = list(documents(0, 0, 200, language=short))
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=2048, n_positions=128, n_embd=64, n_layer=2, n_head=4))
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95))
    for step, batch in enumerate(with_first_token(documents(5, 0, 300 * 16, language=short)).split(16)):
        optimiser.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 10) * (1 - step / 300)
        model(batch, labels=batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    tokens = with_first_token(held_out)
    with torch.inference_mode():
        reached = float(model(tokens, labels=tokens).loss)
    train = np.stack([d.words for d in documents(5, 0, 300 * 16, language=short)])
    frequencies = n_gram_cross_entropy(train, np.stack([d.words for d in held_out]), 1)
    bayes = bayes_cross_entropy(held_out)
    print(f"frequencies {frequencies:.3f}, model {reached:.3f}, Bayes {bayes.bayes:.3f} ± {bayes.bayes_error:.3f}")
    assert bayes.bayes + 0.1 < reached < frequencies - 1


def with_first_token(made: Iterable[Document]) -> torch.Tensor:
    words = torch.from_numpy(np.stack([d.words for d in made]))
    return torch.cat([torch.zeros(len(words), 1, dtype=torch.int64), words], 1)
