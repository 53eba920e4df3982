"""What splicing says against a second way to it: the model of transformers with hooks set by hand, and numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import actpipe
from actpipe.errors import Misuse
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.stage import harvest
from actpipe.store import Store
from actpipe.training import cross_entropy
from actpipe.training.cross_entropy import Probe, block_recoveries, choose_probe, model_of, recoveries

EARLY, MLP_IN, MLP_OUT, LATE = (
    "blocks.0.hook_resid_post",
    "blocks.1.mlp.hook_in",
    "blocks.1.hook_mlp_out",
    "blocks.1.hook_resid_post",
)
HOOKS = (EARLY, MLP_IN, MLP_OUT, LATE)
NATIVE = {EARLY: "model.layers.0", MLP_OUT: "model.layers.1.mlp", LATE: "model.layers.1"}


@pytest.fixture(scope="module")
def store(saved_models: dict[str, Path], text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("store") / "store.zarr"
    harvest(
        HarvestConfig(
            model=str(saved_models["llama"]),
            dataset=str(text_file),
            hook=HOOKS,
            tokens=3000,
            context=24,
            batch_size=4,
            model_dtype="float32",
            dtype="float32",
            device="cpu",
            out=out,
        )
    )
    return actpipe.open_store(out)


@pytest.fixture(scope="module")
def probe(store: Store) -> Probe:
    return choose_probe(store, 0.3)


class Answers:
    """Stands where a dictionary stands, with a reconstruction known beforehand."""

    def __init__(self, answer: Callable[[Tensor], Tensor], reads: str = "row") -> None:
        self.reconstruct = answer
        self.architecture = SimpleNamespace(reads=reads, name="known answer")

    def to(self, device: object) -> Answers:
        return self


class Bar:
    def __init__(self) -> None:
        self.done = 0.0

    def advance(self, amount: float, note: str = "") -> None:
        self.done += amount


def measured(store: Store, probe: Probe, *dictionaries: Any, hook: str = LATE, **options: Any) -> list[Any]:
    return recoveries(model_of(store, "cpu"), store, hook, dictionaries, probe, Bar(), **options)


def by_hand(store: Store, probe: Probe, path: str, change: Callable[[Tensor], Tensor] | None) -> np.ndarray:
    """Log-probabilities [sequences, context, vocabulary] in float64, all sequences at once."""
    module = model_of(store, "cpu").module

    def hook(_: Any, __: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        new = torch.where(probe.replaced[..., None], change(value), value)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = module.get_submodule(path).register_forward_hook(hook) if change else None
    with torch.no_grad():
        logits = module(input_ids=probe.tokens).logits.double().numpy()
    if handle:
        handle.remove()
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def scores(changed: np.ndarray, clean: np.ndarray, probe: Probe) -> tuple[float, float]:
    """Cross-entropy and KL in nats a counted token, token by token."""
    ce, kl = [], []
    for s, t in np.argwhere(probe.counted.numpy()):
        ce.append(-changed[s, t - 1, probe.tokens[s, t]])
        kl.append((np.exp(clean[s, t - 1]) * (clean[s, t - 1] - changed[s, t - 1])).sum())
    return float(np.mean(ce)), float(np.mean(kl))


@pytest.mark.parametrize("widened", [1, 10_000])
@pytest.mark.parametrize("logits", [1, 2**25])
def test_scores_are_those_of_the_definition(
    store: Store, probe: Probe, widened: int, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "LOGITS_WIDENED", widened)
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", logits)
    monkeypatch.setattr(cross_entropy, "ROWS_AT_ONCE", 7)
    half = Answers(lambda x: 0.5 * x + 0.1)
    (found,) = measured(store, probe, half)
    mean = torch.from_numpy(store.statistics(LATE).mean).float()
    clean = by_hand(store, probe, NATIVE[LATE], None)
    ce_clean, _ = scores(clean, clean, probe)
    ce, kl = scores(by_hand(store, probe, NATIVE[LATE], half.reconstruct), clean, probe)
    ce_zero, kl_zero = scores(by_hand(store, probe, NATIVE[LATE], torch.zeros_like), clean, probe)
    ce_mean, kl_mean = scores(by_hand(store, probe, NATIVE[LATE], lambda x: mean.expand_as(x)), clean, probe)
    wanted = {
        "delta_ce": ce - ce_clean,
        "kl": kl,
        "loss_recovered": (ce_zero - ce) / (ce_zero - ce_clean),
        "loss_recovered_mean": (ce_mean - ce) / (ce_mean - ce_clean),
        "kl_recovered": 1 - kl / kl_zero,
        "kl_recovered_mean": 1 - kl / kl_mean,
        "perplexity": np.exp(ce),
        "perplexity_clean": np.exp(ce_clean),
        "ce_clean": ce_clean,
        "ce_zero": ce_zero,
        "ce_mean": ce_mean,
        "kl_zero": kl_zero,
        "kl_mean": kl_mean,
    }
    assert kl > 1e-5  # the comparison is of something
    assert vars(found) == pytest.approx(wanted | {"ce_tokens": int(probe.counted.sum())}, rel=1e-3, abs=1e-6)


def test_what_is_known_beforehand(store: Store, probe: Probe) -> None:
    mean = torch.from_numpy(store.statistics(LATE).mean).float()
    bar = Bar()
    known = [Answers(lambda x: x), Answers(lambda x: mean.expand_as(x)), Answers(torch.zeros_like)]
    found = recoveries(model_of(store, "cpu"), store, LATE, known, probe, bar)  # type: ignore[arg-type]
    perfect, average, nothing = found
    assert (perfect.delta_ce, perfect.kl) == (0.0, 0.0)
    assert perfect.loss_recovered == perfect.loss_recovered_mean == perfect.kl_recovered == 1.0
    assert average.loss_recovered_mean == average.kl_recovered_mean == 0.0
    assert nothing.loss_recovered == nothing.kl_recovered == 0.0
    assert nothing.kl == nothing.kl_zero > 0
    assert bar.done == pytest.approx(3 + 3)


def test_a_transcoder_reads_one_hook_and_is_written_to_another(store: Store, probe: Probe) -> None:
    model = model_of(store, "cpu")
    mlp = model.module.get_submodule(NATIVE[MLP_OUT])
    perfect, half = Answers(mlp, "pair"), Answers(lambda x: 0.5 * mlp(x), "pair")
    both = measured(store, probe, perfect, half, hook=MLP_IN, target=MLP_OUT)
    assert both[0].delta_ce == pytest.approx(0, abs=1e-6)
    assert both[0].kl == pytest.approx(0, abs=1e-6)
    clean = by_hand(store, probe, NATIVE[MLP_OUT], None)
    ce, kl = scores(by_hand(store, probe, NATIVE[MLP_OUT], lambda x: 0.5 * x), clean, probe)
    assert both[1].ce_clean + both[1].delta_ce == pytest.approx(ce, rel=1e-6)
    assert both[1].kl == pytest.approx(kl, rel=1e-2)


def test_each_hook_of_a_crosscoder_is_replaced_alone(store: Store, probe: Probe) -> None:
    """Halves the first block, leaves the second: reading the clean model, not what the first replacement made of it."""
    width, bar = store.hooks[EARLY], Bar()
    factor = torch.cat([torch.full((width,), 0.5), torch.ones(store.hooks[LATE])])
    halving, perfect = Answers(lambda x: x * factor, "blocks"), Answers(lambda x: x, "blocks")
    found = block_recoveries(model_of(store, "cpu"), store, (EARLY, LATE), [halving, perfect], probe, bar)  # type: ignore[list-item]
    assert [list(one) for one in found] == [[EARLY, LATE]] * 2
    assert bar.done == pytest.approx(2 * (3 + 2))
    clean = by_hand(store, probe, NATIVE[EARLY], None)
    ce, kl = scores(by_hand(store, probe, NATIVE[EARLY], lambda x: 0.5 * x), clean, probe)
    assert found[0][EARLY].ce_clean + found[0][EARLY].delta_ce == pytest.approx(ce, rel=1e-6)
    assert found[0][EARLY].kl == pytest.approx(kl, rel=1e-2)
    assert [found[0][LATE].kl, found[1][EARLY].kl, found[1][LATE].kl] == [0.0, 0.0, 0.0]


def test_a_member_that_diverged_spoils_no_other(store: Store, probe: Probe) -> None:
    good, bad = Answers(lambda x: 0.9 * x), Answers(lambda x: x * torch.nan)
    alone, (beside, diverged) = measured(store, probe, good)[0], measured(store, probe, good, bad)
    assert alone == beside
    assert np.isnan([diverged.delta_ce, diverged.kl, diverged.loss_recovered, diverged.perplexity]).all()


def test_a_transcoder_without_its_hook_is_one_sentence(store: Store, probe: Probe) -> None:
    with pytest.raises(Misuse, match="needs the name of the hook it predicts"):
        measured(store, probe, Answers(lambda x: x, "pair"))
    with pytest.raises(Misuse, match="predicts no other hook"):
        measured(store, probe, Answers(lambda x: x), hook=MLP_IN, target=MLP_OUT)
