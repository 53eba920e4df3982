"""Scores of units against labels: by hand, against scikit-learn, and at the ends: the oracle and chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actpipe.errors import Misuse
from actpipe.factorlang import FACTORS, documents, labels, scores

PLACE = {factor.name: i for i, factor in enumerate(FACTORS)}


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    """[12750, 152]: 50 documents."""
    return torch.from_numpy(np.concatenate([labels(d) for d in documents(0, 0, 50)]))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_average_precision_by_hand() -> None:
    """Codes 3, 2, 2, 0: thresholds 3 (1 of 1), 2 (2 of 3), 0 (3 of 4); a third of the recall at each."""
    codes = torch.tensor([[3.0], [2.0], [2.0], [0.0]])
    truth = torch.tensor([[True], [True], [False], [True]])
    assert scores.average_precision(codes, truth).item() == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_average_precision_is_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = generator(1)
    codes = (torch.randn(500, 6, generator=draw).clamp(min=0) * 4).round()  # with ties, and zeros
    codes[:, 5] = 0
    truth = torch.rand(500, 4, generator=draw) < torch.tensor([0.02, 0.2, 0.5, 0.9])
    expected = [[metrics.average_precision_score(truth[:, f], codes[:, u]) for f in range(4)] for u in range(6)]
    assert scores.average_precision(codes, truth).numpy() == pytest.approx(np.array(expected), abs=1e-12)


def test_standard_f1_by_hand() -> None:
    """TPR 0.5, FPR 0.25: P = .01 · .5 / (.01 · .5 + .99 · .25) = .0198; F1 = 2 P TPR / (P + TPR)."""
    codes = torch.tensor([[1.0], [0.0], [1.0], [0.0], [0.0], [0.0]])
    truth = torch.tensor([[True], [True], [False], [False], [False], [False]])
    p = 0.005 / (0.005 + 0.99 * 0.25)
    assert scores.standard_f1(codes, truth).item() == pytest.approx(2 * p * 0.5 / (p + 0.5))
    at_half = scores.standard_f1(codes, truth, prevalence=0.5).item()
    assert at_half == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert scores.standard_f1(codes, truth, threshold=1.0).item() == 0.0


def test_standard_f1_does_not_depend_on_how_rare_the_factor_is() -> None:
    truth = torch.zeros(10_000, 2, dtype=torch.bool)
    truth[:5000, 0] = True
    truth[:50, 1] = True
    codes = torch.zeros(10_000, 2)
    for column, n in ((0, 5000), (1, 50)):  # TPR 0.8, FPR 0.02
        codes[: int(0.8 * n), column] = 1
        codes[n : n + round(0.02 * (10_000 - n)), column] = 1
    f1 = scores.standard_f1(codes, truth)
    assert float(f1[0, 0]) == pytest.approx(float(f1[1, 1]), abs=1e-3)


def test_oracle_units_score_one_and_shuffled_ones_chance(truth: torch.Tensor) -> None:
    codes = truth[:, :60].float() * 2
    board = scores.scoreboard(codes, truth, generator=generator(), related=scores.related_factors())
    oracle, random, units = board["oracle"], board["random"], board["units"]
    assert min(oracle.ap, oracle.f1, oracle.mcc_f1, oracle.mcc, oracle.coverage, oracle.redundancy) >= 0.99
    assert oracle.redundancy == 1
    assert random.coverage == 0
    assert random.f1 < 0.05
    assert np.isnan(random.redundancy)
    assert random.factors_per_unit < 0.3
    assert random.mcc < 0.1
    assert units.coverage == pytest.approx(60 / scores.scored(truth).sum().item(), abs=0.03)
    assert units.mcc_f1 > random.mcc_f1 + 0.3


def test_one_shuffled_unit_is_at_the_chance_level_of_each_score(truth: torch.Tensor) -> None:
    """AP: the prevalence π_f. F1_std of a unit of density q: TPR = FPR = q, so 2 π q / (π + q) with π = 1 %."""
    density = 0.05
    codes = (torch.rand(len(truth), 40, generator=generator(2)) < density).float()
    frequent = truth.double().mean(0) > 0.05
    ap = scores.average_precision(codes, truth)[:, frequent].mean(0)
    assert ap.numpy() == pytest.approx(truth.double().mean(0)[frequent].numpy(), rel=0.05)
    f1 = scores.standard_f1(codes, truth)[:, frequent]
    assert float(f1.mean()) == pytest.approx(2 * 0.01 * density / (0.01 + density), rel=0.05)


def test_the_best_pairs_are_found_whatever_the_order(truth: torch.Tensor) -> None:
    chosen = truth[:, scores.scored(truth)]
    order = torch.randperm(chosen.shape[1], generator=generator(3))
    f1 = scores.standard_f1(chosen[:, order].float(), chosen)
    assert scores.matched_mean(f1) == pytest.approx(1)
    assert scores.matched_mean(f1[: len(f1) // 2]) == pytest.approx((len(f1) // 2) / len(f1), abs=0.02)
    assert scores.correlation_mcc(-3.0 * chosen[:, order].float(), chosen) == pytest.approx(1, abs=1e-6)


def test_two_units_a_factor_are_redundant_and_a_unit_of_two_factors_is_polysemous(truth: torch.Tensor) -> None:
    related = scores.related_factors()
    farm, music = truth[:, PLACE["sense/farm"]], truth[:, PLACE["sense/music"]]
    twice = torch.stack([farm, farm, music, music], 1).float()
    assert scores.score(twice, truth, related=related).redundancy == 2
    either = (farm | music).float()[:, None]
    lifted = {FACTORS[i].name for i in scores.lifted(either, truth)[0].nonzero()[:, 0].tolist()}
    assert {"sense/farm", "sense/music", "topic/farm", "topic/music", "noun"} <= lifted
    assert not lifted & {"sense/sea", "punctuation", "function", "determiner"}
    alone = scores.score(farm.float()[:, None], truth, related=related).unrelated_per_unit
    assert scores.score(either, truth, related=related).unrelated_per_unit >= alone + 1


def test_lift_is_found_where_it_is_and_not_where_it_may_be_chance() -> None:
    truth = torch.zeros(4000, 2, dtype=torch.bool)
    truth[:400] = True  # 10 %
    codes = torch.zeros(4000, 2)
    codes[:90, 0] = codes[400:460, 0] = 1  # 60 % of 150 rows: lift 6
    codes[:2, 1] = codes[400:405, 1] = 1  # 2 of 7: lift 2.9 with an interval from 0.9
    assert scores.lifted(codes, truth).tolist() == [[True, True], [False, False]]


def test_a_child_that_takes_its_parent_s_place_has_absorbed_it(truth: torch.Tensor) -> None:
    """A unit for nouns that is silent on singular ones, where another fires: absorbed there, nowhere else."""
    noun, singular, plural = (truth[:, PLACE[name]] for name in ("noun", "noun/singular", "noun/plural"))
    half = torch.rand(len(truth), generator=generator(4)) < 0.4
    units = torch.stack([noun & ~(singular & half), singular, plural], 1).float()
    pairs = [(PLACE["noun"], PLACE["noun/singular"]), (PLACE["noun"], PLACE["noun/plural"])]
    absorbed = scores.absorption(units, truth, pairs)
    assert absorbed.tolist() == pytest.approx([float(half[singular].double().mean()), 0.0])
    probes = torch.zeros(len(FACTORS), 3)
    probes[PLACE["noun"]] = torch.tensor([1.0, 0.0, 0.0])
    towards, across = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0, 1.0, 0]]), torch.eye(3)
    assert scores.absorption(units, truth, pairs, directions=towards, probes=probes)[0] == absorbed[0]
    assert scores.absorption(units, truth, pairs, directions=across, probes=probes)[0] == 0
    assert scores.absorption(truth.float(), truth, scores.edges()).nan_to_num().max() == 0
    assert torch.isnan(scores.absorption(units, truth, [(PLACE["copied"], PLACE["copied/1"])])).all()


def test_probes_point_from_where_a_factor_is_not_to_where_it_is() -> None:
    rows = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    truth = torch.tensor([[True], [False], [False]])
    assert scores.difference_probes(rows, truth).tolist() == [[-3.0, 0.0]]


def test_a_factor_without_a_row_does_not_count(truth: torch.Tensor) -> None:
    few = truth[:40]
    codes = few.float()
    assert torch.isnan(scores.standard_f1(codes, few)[0, PLACE["language/mira"]])
    assert scores.score(codes, few).f1 == pytest.approx(1)
    assert scores.score(codes, few).mcc_f1 == pytest.approx(1)


def test_a_code_below_zero_must_be_split(truth: torch.Tensor) -> None:
    codes = torch.randn(len(truth), 2, generator=generator(5))
    with pytest.raises(Misuse, match="split their signs with `two_sided`"):
        scores.standard_f1(codes, truth)
    split = scores.two_sided(codes)
    assert split.shape[1] == 4
    assert torch.equal(split[:, :2] - split[:, 2:], codes)
    with pytest.raises(Misuse, match="of the same rows"):
        scores.standard_f1(split[:5], truth)
    with pytest.raises(Misuse, match="true or false"):
        scores.standard_f1(split, truth.float())
