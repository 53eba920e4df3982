"""Effects against arithmetic by hand, and against the model of transformers with hooks set by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import actpipe
import sae
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.effects import ablation, attribution, fidelity, steering
from actpipe.analysis.effects.bootstrap import document_weights, ratio
from actpipe.analysis.effects.concentration import correlation, ranks, units_for_share
from actpipe.analysis.effects.config import EffectsConfig
from actpipe.analysis.effects.lens import final_size, lens
from actpipe.analysis.effects.nats import nats
from actpipe.analysis.effects.place import Place, read_clean
from actpipe.analysis.effects.sampled import draw, fires
from actpipe.analysis.effects.text import Text, covering_text, sequence_order, text_of
from actpipe.analysis.effects.together import Replacement, costs, readings
from actpipe.analysis.effects.widened import widened
from actpipe.analysis.splits import SCORE
from actpipe.analysis.units.native import NativeUnits
from actpipe.errors import Misuse
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import load_model
from actpipe.harvest.recorded import recorded_model
from actpipe.harvest.stage import harvest
from actpipe.store import Store

EARLY, INNER, LATE = "blocks.0.hook_resid_post", "blocks.1.mlp.hook_post", "blocks.2.hook_resid_post"
N = 32  # width of the residual stream, and units


@dataclass(frozen=True)
class Run:
    store: Store
    corpus: Corpus
    model: Any
    order: np.ndarray

    def units(self, hook: str) -> NativeUnits:
        """Halves of an orthogonal basis that is not that of the coordinates; about half of them fire on a row."""
        basis, _ = torch.linalg.qr(torch.randn(N, N, generator=torch.Generator().manual_seed(5)))
        return Rotated(name="rotated", kind="basis", hook=hook, writes=hook, written=basis)

    def place(self, hook: str) -> Place:
        return Place.of(self.model, self.store, hook, hook)


class Rotated(NativeUnits):
    def codes(self, x: Tensor) -> Tensor:
        return (x @ self.written.T).relu()


class Bar:
    def __init__(self) -> None:
        self.done = 0.0

    def advance(self, amount: float, note: str = "") -> None:
        self.done += amount

    def show(self, table: Any) -> None:
        pass


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def run(
    saved_models: dict[str, Path],
    text_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Run:
    out = tmp_path_factory.mktemp("store") / "store.zarr"
    harvest(
        HarvestConfig(
            model=str(saved_models[request.param]), dataset=str(text_file), hook=(EARLY, INNER, LATE), tokens=4000,
            context=24, model_dtype="float32", dtype="float32", device="cpu", out=out,
        )
    )  # fmt: skip
    store = actpipe.open_store(out)
    corpus = Corpus(store, store.committed, 0)
    return Run(store, corpus, recorded_model(store, "cpu"), sequence_order(corpus, 0))


PATHS = {
    "llama": {EARLY: "model.layers.0", LATE: "model.layers.2"},
    "gpt2": {EARLY: "transformer.h.0", LATE: "transformer.h.2"},
}


def by_hand(run: Run, text: Text, hook: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Log-probabilities [sequences, context, vocabulary] in float64 with the rows at `hook` changed."""
    module = run.model.module
    path = PATHS["gpt2" if hasattr(module, "transformer") else "llama"][hook]

    def replace(_: Any, __: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        return (change(value), *output[1:]) if isinstance(output, tuple) else change(value)

    handle = module.get_submodule(path).register_forward_hook(replace)
    with torch.no_grad():
        logits = module(input_ids=text.tokens).logits.double()
    handle.remove()
    return logits.log_softmax(-1)


def test_a_ratio_is_of_sums_and_its_interval_over_documents() -> None:
    top, bottom = np.array([[2.0, 0], [4, 0], [0, 1]]), np.array([[1.0, 0], [1, 0], [0, 1]])
    found = ratio(top, bottom, document_weights(3, draws=4000, seed=0))
    assert found.value.tolist() == [3.0, 1.0]
    assert found.n.tolist() == [2, 1]
    assert found.low[0] == 2
    assert found.high[0] == 4
    assert np.isnan(found.low[1])  # one document says nothing of other documents
    assert np.isnan(ratio(np.zeros((3, 1)), np.zeros((3, 1)), document_weights(3, draws=9, seed=0)).value).all()


def test_an_interval_covers_the_mean_of_the_population_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        documents = random.exponential(1.0, size=(40, 1))
        found = ratio(documents, np.ones((40, 1)), document_weights(40, draws=400, seed=seed))
        hits += bool(found.low[0] <= 1.0 <= found.high[0])
    assert 0.88 <= hits / 200 <= 0.98  # 95 %, of skewed numbers a little less


def test_sparsity_by_hand() -> None:
    # Contributions 6, 3, 1 of four units: 95 % of 10 need all three, 90 % would need two.
    units = NativeUnits(name="u", kind="neuron", hook="h", writes="h", written=torch.diag(torch.tensor([2.0, 1, 1, 1])))
    x = torch.tensor([[3.0, 3, 1, 0], [0, 0, 0, 0]])
    found = fidelity.sparsity(x, np.array([0, 1]), units, document_weights(2, draws=10, seed=0))
    assert found["l0"].value == 1.5
    assert found["l0_eff_95"].value == 1.5
    assert found["participation_ratio"].value == pytest.approx(100 / 46)
    assert found["participation_ratio"].n == 1  # undefined on a row without contributions, not zero
    assert found["hoyer"].value == pytest.approx((2 - 10 / 46**0.5) / 1)


def test_effective_l0_needs_no_unit_that_adds_nothing_of_note() -> None:
    units = NativeUnits(name="u", kind="neuron", hook="h", writes="h", written=torch.eye(50))
    x = torch.full((1, 50), 1e-4)
    x[0, 7] = 1
    found = fidelity.sparsity(x, np.array([0]), units, document_weights(1, draws=2, seed=0))
    assert found["l0"].value == 50
    assert found["l0_eff_95"].value == found["l0_eff_99"].value == 1


def test_the_mean_explains_exactly_nothing_and_the_row_itself_everything() -> None:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) + 3
    documents, weights = np.arange(60) % 6, document_weights(6, draws=50, seed=0)
    mean = x.double().mean(0).expand(60, -1)
    assert fidelity.reconstruction(x, mean, documents, weights)["explained_variance"].value == 0.0
    assert fidelity.reconstruction(x, x, documents, weights)["explained_variance"].value == 1.0


def test_reconstruction_is_what_evaluate_says() -> None:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(200, 6, generator=random)
    params = {"W_enc": torch.randn(9, 6, generator=random), "b_enc": torch.zeros(9), "b_dec": torch.zeros(6)}
    params["W_dec"] = torch.nn.functional.normalize(torch.randn(9, 6, generator=random), dim=1)
    scaling = sae.Scaling(torch.zeros(6), 1.0)
    dictionary = sae.Dictionary.trained(sae.ReLU(), params, hyper={"l1": 1.0}, scaling=scaling, config={})
    (wanted,) = sae.evaluate([dictionary], [x])
    found = fidelity.reconstruction(
        x, dictionary.reconstruct(x), np.arange(200) % 9, document_weights(9, draws=9, seed=0)
    )
    for name, other in (("fvu", "fvu"), ("cosine", "cosine"), ("shrinkage", "norm_ratio"), ("relative_bias",) * 2):
        assert found[name].value == pytest.approx(getattr(wanted, other), rel=1e-6)


def test_nats_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    found = nats(q, p, torch.tensor([0]))
    assert found.ce.item() == pytest.approx(np.log(4))
    assert found.kl.item() == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


def test_units_for_a_share_by_hand() -> None:
    assert units_for_share(np.array([-8.0, 1, 1, 0])) == 2  # 8 of 10 is not 90 %, 9 of 10 is
    assert units_for_share(np.array([3.0, 0, 0])) == 1
    assert units_for_share(np.zeros(3)) == 0


def test_ranks_and_correlation_are_those_of_scipy() -> None:
    from scipy import stats

    random = np.random.default_rng(0)
    x, y = random.integers(0, 9, 50).astype(float), random.normal(size=50)
    assert ranks(x).tolist() == stats.rankdata(x).tolist()
    assert correlation(ranks(x), ranks(y)) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert np.isnan(correlation(np.ones(5), y[:5]))


def test_text_is_of_documents_to_score_on(run: Run) -> None:
    text = text_of(run.corpus, run.order)
    of_document = run.corpus.split[run.store.doc[run.order]]
    assert (of_document[text.changed.numpy()] == SCORE).all()
    assert not text.counted[:, 0].any()
    everything = run.store.mask & (run.corpus.split[run.store.doc] == SCORE)
    kept = everything.sum(axis=1) > 1
    assert int(text.changed.sum()) == int(everything[kept].sum())
    assert len(set(run.order.tolist())) == len(run.order)


def test_a_rare_unit_has_the_first_sequences_on_which_it_fires(run: Run) -> None:
    units, config = run.units(EARLY), EffectsConfig(uniform=2, sequences=6, per_unit=2)
    rare = np.zeros((len(run.order), N), bool)
    rare[[5, 9, 20], 3] = True  # places in the order at which unit 3 fires; no other does

    def planted(corpus: Corpus, units: Any, number: np.ndarray) -> np.ndarray:
        return rare[[run.order.tolist().index(each) for each in number]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actpipe.analysis.effects.text.fires", planted)
        text = covering_text(run.corpus, units, np.array([3, 4]), run.order, config)
    # Unit 4 never fires, so the search goes on to the end; unit 3 is served by the first two.
    assert text.number.tolist() == [*run.order[:2], run.order[5], run.order[9]]
    assert text.uniform == 2


def test_firing_is_read_from_rows_that_count(run: Run) -> None:
    units, number = run.units(EARLY), run.order[:3]
    found = fires(run.corpus, units, number)
    for i, sequence in enumerate(number):
        x = run.store.read(EARLY, sequence * 24, (sequence + 1) * 24).float()
        scored = run.store.mask[sequence] & (run.corpus.split[run.store.doc[sequence]] == SCORE)
        assert (found[i] == (units.codes(x[torch.from_numpy(scored)]) > 0).any(0).numpy()).all()


def test_units_are_drawn_uniformly_from_those_alive() -> None:
    alive = np.zeros(100, bool)
    alive[10:30] = True
    drawn = [draw(alive, 5, seed) for seed in range(400)]
    assert all(len(set(each)) == 5 and each.min() >= 10 and each.max() < 30 for each in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=30)[10:30]
    assert counts.min() > 60  # of 100 expected
    assert draw(alive, 1000, 0).tolist() == list(range(10, 30))


@pytest.mark.parametrize("hook", [EARLY, LATE])
def test_ablation_is_what_a_hook_set_by_hand_does(run: Run, hook: str) -> None:
    units, sample, text = run.units(hook), np.array([2, 7]), text_of(run.corpus, run.order[:4])
    means = np.linspace(0, 1, N)
    found = ablation.ablate(run.place(hook), text, units, sample, Bar(), means=means, per_unit=3)
    assert found.used.sum(axis=0).tolist() == [3, 3]
    wanted = {name: np.zeros((2, 2)) for name in ("kl", "ce", "kl_sum", "ce_sum")}
    firings = np.zeros(2)
    clean = by_hand(run, text, hook, lambda x: x)
    for i, unit in enumerate(sample):
        for base, to in enumerate((0.0, means[unit])):

            def silenced(x: Tensor, unit: int = unit, to: float = to) -> Tensor:
                a = units.codes(x)[..., unit]
                return torch.where(text.changed[..., None], x + (to - a)[..., None] * units.directions[unit], x)

            changed = by_hand(run, text, hook, silenced)
            for s in found.used[:, i].nonzero()[0]:
                x = run.store.read(hook, text.number[s] * 24, (text.number[s] + 1) * 24).float()
                fired = (units.codes(x)[:, unit] > 0) & text.changed[s]
                firings[i] += float(fired.sum()) * (base == 0)
                for t in range(23):
                    if text.counted[s, t + 1]:
                        p, q, token = clean[s, t], changed[s, t], text.tokens[s, t + 1]
                        kl, ce = float((p.exp() * (p - q)).sum()), float(p[token] - q[token])
                        wanted["kl_sum"][i, base] += kl
                        wanted["ce_sum"][i, base] += ce
                        wanted["kl"][i, base] += kl * bool(fired[t])
                        wanted["ce"][i, base] += ce * bool(fired[t])
    for name, value in wanted.items():
        np.testing.assert_allclose(getattr(found, name).sum(axis=0), value, rtol=2e-3, atol=2e-6)
    assert found.firings.sum(axis=0).tolist() == firings.tolist()


def test_ablation_of_nothing_costs_nothing(run: Run) -> None:
    text, sample = text_of(run.corpus, run.order[:2]), np.arange(4)
    found = ablation.ablate(
        run.place(EARLY), text, run.units(EARLY), sample, Bar(), means=np.zeros(N), per_unit=2, share=1e-9
    )
    assert np.abs(found.ce_sum).max() < 1e-4
    assert np.abs(found.kl_sum).max() < 1e-5


@pytest.mark.parametrize("hook", [EARLY, LATE])
def test_attribution_is_the_slope_of_ablation(run: Run, hook: str) -> None:
    """For a hundredth of the way to the base, ΔCE is a hundredth of the estimate."""
    units, sample, text = run.units(hook), np.arange(N), text_of(run.corpus, run.order[:3])
    found = attribution.attribute(run.place(hook), text, units, sample, Bar())
    share = 0.01
    exact = ablation.ablate(run.place(hook), text, units, sample, Bar(), means=found.mean_code, per_unit=3, share=share)
    for base in range(2):
        estimate = (found.sequences[..., base] * exact.used).sum(axis=0)
        assert correlation(estimate, exact.ce_sum[..., base].sum(axis=0) / share) > 0.99
    whole = ablation.ablate(run.place(hook), text, units, sample, Bar(), means=found.mean_code, per_unit=3)
    estimate = (found.sequences[..., 0] * whole.used).sum(axis=0)
    assert correlation(estimate, whole.ce_sum[..., 0].sum(axis=0)) > 0.9


def test_attribution_of_documents_and_sequences_add_up(run: Run) -> None:
    units, text = run.units(EARLY), text_of(run.corpus, run.order[:5], uniform=5)
    found = attribution.attribute(run.place(EARLY), text, units, np.arange(N), Bar())
    np.testing.assert_allclose(found.total, found.sequences.sum(axis=0), rtol=1e-6, atol=1e-9)
    rows = np.concatenate([run.store.read(EARLY, s * 24, (s + 1) * 24).float() for s in text.number])
    rows = rows[text.changed.reshape(-1).numpy()]
    codes = units.codes(torch.from_numpy(rows)).double().numpy()
    np.testing.assert_allclose(found.mean_code, codes.mean(axis=0), rtol=1e-4)
    assert found.fired.tolist() == (codes > 0).sum(axis=0).tolist()
    assert found.spread == pytest.approx(np.sqrt(rows.var(axis=0).mean()), rel=1e-3)


def test_only_uniform_sequences_count_towards_totals(run: Run) -> None:
    units, place = run.units(EARLY), run.place(EARLY)
    both = attribution.attribute(place, text_of(run.corpus, run.order[:5], uniform=2), units, np.arange(3), Bar())
    alone = attribution.attribute(place, text_of(run.corpus, run.order[:2]), units, np.arange(3), Bar())
    np.testing.assert_allclose(both.total, alone.total, rtol=1e-5, atol=1e-9)
    assert (both.rows, both.tokens) == (alone.rows, alone.tokens)
    assert len(both.sequences) == 5


def test_steering_is_what_a_hook_set_by_hand_does(run: Run) -> None:
    text, directions = text_of(run.corpus, run.order[:2]), torch.randn(2, N, generator=torch.Generator().manual_seed(0))
    own = np.array([[5, 9], [11, 3]])
    found = steering.steer(run.place(EARLY), text, directions, own, Bar(), spread=0.5)
    clean = by_hand(run, text, EARLY, lambda x: x)
    counted = text.predicted_at
    for unit in range(2):
        for step, s in enumerate(steering.STEPS):
            unit_vector = directions[unit] / directions[unit].norm()
            push = text.changed[..., None] * s * 0.5 * unit_vector
            changed = by_hand(run, text, EARLY, lambda x, push=push: x + push)  # type: ignore[misc]
            q, p = (each[:, :-1][counted] for each in (changed, clean))
            lift = (q - p)[:, own[unit]].mean(1) - (q - p).mean(1)
            kl = (p.exp() * (p - q)).sum(1)
            assert found.lift[:, unit, step].sum() == pytest.approx(float(lift.sum()), rel=1e-3, abs=1e-5)
            assert found.kl[:, unit, step].sum() == pytest.approx(float(kl.sum()), rel=1e-3, abs=1e-5)
    assert found.tokens.sum() == counted.sum()


def test_area_and_slope_by_hand() -> None:
    kl = np.array([16.0, 4, 1, 1, 4, 16])  # s²
    lift = np.array([-12.0, -6, -3, 3, 6, 12])  # 3 s: a straight line over √kl from 0 to 4
    assert steering.area(lift, kl) == 6  # its mean height
    assert steering.slope(lift, kl) == 3
    assert np.isnan(steering.area(lift, np.zeros(6)))


def test_logits_of_a_direction_and_how_peaked_they_are(run: Run) -> None:
    directions = torch.randn(3, N, generator=torch.Generator().manual_seed(0))
    codes = np.zeros((4, 3), np.float32)
    codes[:, 0] = [1, 1, 1, 1]
    codes[1, 1] = 2
    first = lens(run.model.name, LATE, directions, codes, np.array([0, 1, 2, 3]), 1.0)
    assert first is not None
    top = int(first.tokens[0, 0])
    found = lens(run.model.name, LATE, directions, codes, np.array([top, top, 0, 0]), 1.0)
    assert found is not None
    from actpipe.harvest.unembedding import logit_directions

    logits = logit_directions(run.model.name, LATE, directions)
    assert logits is not None
    wanted = logits.double().numpy()
    from scipy import stats

    assert found.kurtosis == pytest.approx(stats.kurtosis(wanted, axis=1), rel=1e-3, abs=1e-3)
    q = torch.from_numpy(wanted[0]).softmax(-1)
    assert found.entropy[0] == pytest.approx(float(-(q * q.log()).sum()), rel=1e-5)
    assert np.isnan(found.entropy[2])  # never fires
    in_first = np.isin([top, top, 0, 0], found.tokens[0]).mean()
    assert found.input[0] == in_first
    assert np.isnan(found.input[2])


def test_the_final_size_is_what_the_normalisation_divides_by(run: Run) -> None:
    text = text_of(run.corpus, run.order[:2])
    clean = read_clean(run.place(LATE), text)
    x = clean.writes
    if hasattr(run.model.module, "transformer"):
        x = x - x.mean(1, keepdim=True)
    assert final_size(run.model, text) == pytest.approx(float(x.square().mean(1).sqrt().mean()), rel=1e-4)


def _itself(hook: str, run: Run) -> Replacement:
    site = run.place(hook).writes
    mean = torch.from_numpy(run.store.statistics(hook).mean).float()
    return Replacement(reads=site, writes=site, answer=lambda x: x, mean=mean)


def test_replacing_rows_by_themselves_costs_exactly_nothing(run: Run) -> None:
    text = text_of(run.corpus, run.order[:4])
    mask = torch.from_numpy(run.store.mask[text.number])
    both = [_itself(EARLY, run), _itself(LATE, run)]
    bar = Bar()
    found = costs(run.model, text, {"all": both, EARLY: both[:1]}, mask, bar, at_once=3, draws=10, seed=0)
    for cost in found.values():
        assert cost.delta_ce.value == 0.0
        assert abs(cost.kl.value) < 1e-7
        assert cost.ce_recovered.value == 1.0
    assert bar.done == pytest.approx(readings({"all": both, EARLY: both[:1]})) == 1 + 3 * 2


def test_the_second_of_two_replacements_reads_what_the_first_left(run: Run) -> None:
    text = text_of(run.corpus, run.order[:3])
    mask = torch.from_numpy(run.store.mask[text.number])
    halves = [
        Replacement(reads=site.reads, writes=site.writes, answer=lambda x: 0.5 * x, mean=torch.zeros(N))
        for site in (run.place(EARLY), run.place(LATE))
    ]
    found = costs(run.model, text, {"all": halves, "late": halves[1:]}, mask, Bar(), at_once=8, draws=10, seed=0)
    module = run.model.module
    paths = PATHS["gpt2" if hasattr(module, "transformer") else "llama"]

    def halved(_: Any, __: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        new = torch.where(mask[..., None], 0.5 * value, value)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    for name, hooks in (("all", (EARLY, LATE)), ("late", (LATE,))):
        handles = [module.get_submodule(paths[hook]).register_forward_hook(halved) for hook in hooks]
        with torch.no_grad():
            q = module(input_ids=text.tokens).logits[:, :-1][text.predicted_at].double().log_softmax(-1)
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            p = module(input_ids=text.tokens).logits[:, :-1][text.predicted_at].double().log_softmax(-1)
        kl = float((p.exp() * (p - q)).sum(1).mean())
        assert found[name].kl.value == pytest.approx(kl, rel=1e-3, abs=1e-6)
    assert found["all"].kl.value != pytest.approx(found["late"].kl.value, rel=1e-2)


def test_a_model_without_predictions_is_refused(saved_models: dict[str, Path], run: Run) -> None:
    bert = load_model(str(saved_models["bert"]), dtype="float32", device="cpu")
    with pytest.raises(Misuse, match="does not predict the next token"):
        Place.of(bert, run.store, EARLY, EARLY)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(Misuse, match="per_unit of at least 1"):
        EffectsConfig(per_unit=0)
    with pytest.raises(Misuse, match="16 cannot be drawn"):
        EffectsConfig(sequences=8)


def test_a_model_is_widened_without_changing_its_weights(saved_models: dict[str, Path], run: Run) -> None:
    half = load_model(str(saved_models["llama"]), dtype="bfloat16", device="cpu")
    wide = widened(half)
    tokens = torch.arange(8)[None]
    assert wide.dtype == torch.float32
    assert half.dtype == next(half.module.parameters()).dtype == torch.bfloat16
    for name, weight in wide.module.state_dict().items():
        assert torch.equal(weight, half.module.state_dict()[name].float())
    close = (wide.logits(wide.inputs(tokens)) - half.logits(half.inputs(tokens)).float()).abs().max()
    assert 0 < close < 0.05
    assert widened(run.model) is run.model
