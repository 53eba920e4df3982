"""How well k units tell labelled texts apart: the k of the largest |mean⁺ − mean⁻| on train, a logistic probe on test.

After Gurnee et al. (2305.01610) and SAEBench. Baselines on the same rows: all coordinates of the hook (`dense`), and k
of its coordinates (`basis`), principal components (`pca`) and random directions (`random`). Units that stand for a
label reach the dense probe with few; trained dictionaries often do not beat the baselines (2502.16681): read both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.analysis.units import UnitSet
from actpipe.errors import Misuse
from actpipe.harvest.model import LanguageModel
from actpipe.progress import Progress, silent

from .labelled import Bools, Labelled
from .pooled import Floats, Pooled, pooled

K = (1, 2, 5, 16)
TEST_SHARE = 0.2
DRAWS = 1000  # of the bootstrap over held-out texts
_FEWEST = 10  # texts of each label, in train and in test
_PENALTIES = (0.001, 0.01, 0.1, 1.0)  # C of the dense probe, chosen on a fifth of train

PROBES = pa.schema(
    [
        ("probe", pa.string()),
        ("hook", pa.string()),
        ("member", pa.string()),
        ("k", pa.int32()),  # null: all
        *((name, pa.float64()) for name in ("auc", "auc_low", "auc_high", "accuracy")),
        ("n", pa.int32()),
        ("units", pa.list_(pa.field("element", pa.int32()))),
    ]
)


class _Task(NamedTuple):
    name: str
    truth: Bools  # [texts]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    draws: NDArray[np.float64]  # [DRAWS, test]: how often each text is in a draw; the same for all probes, so they pair


def probe(
    model: LanguageModel,
    hook: str,
    unit_sets: Sequence[UnitSet],
    labelled: Labelled,
    *,
    k: Sequence[int] = K,
    context: int = 128,
    test_share: float = TEST_SHARE,
    seed: int = 0,
    progress: Progress = silent,
) -> pa.Table:
    """A row (schema PROBES) for each probe, member and k. `member` is a unit set's name or a baseline's.

    auc_low and auc_high: 95 % of the bootstrap over the `n` held-out texts. `units`: which, best first.
    """
    if not 0 < test_share < 1:
        raise Misuse(f"The share of held-out texts must lie between 0 and 1, not be {test_share}.")
    found = pooled(model, hook, unit_sets, labelled.texts, context=context, progress=progress)
    rows: list[dict[str, object]] = []
    with progress.bar("Probing", len(labelled.labels), "probes") as bar:
        for name, truth in labelled.labels.items():
            task = _task(f"{labelled.name}/{name}", truth, found.read, test_share, seed)
            for member, features in _members(found, task, seed):
                rows += _few(task, member, features, k)
            rows.append(_dense(task, found.raw, seed))
            bar.advance(1)
    return pa.Table.from_pylist([row | {"hook": hook} for row in rows], schema=PROBES)


def _task(name: str, truth: Bools, read: Bools, test_share: float, seed: int) -> _Task:
    """Both labels are split alike."""
    random = np.random.default_rng(seed)
    train, test = [], []
    for label in (True, False):
        texts = random.permutation(np.flatnonzero(read & (truth == label)))
        n_test = round(test_share * len(texts))
        if min(n_test, len(texts) - n_test) < _FEWEST:
            raise Misuse(
                f"The probe {name} has {len(texts)} texts whose label is {label}; it needs {_FEWEST} in train and in "
                "test: give more texts."
            )
        test.append(texts[:n_test])
        train.append(texts[n_test:])
    held_out = np.concatenate(test)
    draws = random.multinomial(len(held_out), np.full(len(held_out), 1 / len(held_out)), size=DRAWS)
    return _Task(name, truth, np.concatenate(train), held_out, draws.astype(np.float64))


def _members(found: Pooled, task: _Task, seed: int) -> Iterator[tuple[str, Floats]]:
    yield from found.codes.items()
    raw, train = found.raw, found.raw[task.train]
    yield "basis", raw
    centred = raw - train.mean(axis=0)
    components = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2]
    yield "pca", centred @ components.T
    n = max([raw.shape[1], *(codes.shape[1] for codes in found.codes.values())])
    random = np.random.default_rng(seed)
    yield "random", centred @ random.standard_normal((raw.shape[1], n), dtype=np.float32)


def _few(task: _Task, member: str, features: Floats, k: Sequence[int]) -> Iterator[dict[str, object]]:
    train, truth = features[task.train], task.truth[task.train]
    gap = np.abs(train[truth].mean(axis=0) - train[~truth].mean(axis=0))
    ranked = np.argsort(-gap, kind="stable")
    for few in k:
        units = ranked[:few]
        if len(units) == few:
            yield _row(task, member, few, features[:, units], 1.0) | {"units": units.tolist()}


def _dense(task: _Task, raw: Floats, seed: int) -> dict[str, object]:
    order = np.random.default_rng(seed).permutation(task.train)
    fifth = len(order) // 5
    inner = task._replace(train=order[fifth:], test=order[:fifth])
    scores = [_auc(_fitted(inner, raw, c), inner.truth[inner.test]) for c in _PENALTIES]
    return _row(task, "dense", None, raw, _PENALTIES[int(np.nanargmax(scores))]) | {"units": None}


def _row(task: _Task, member: str, k: int | None, features: Floats, penalty: float) -> dict[str, object]:
    decision, truth = _fitted(task, features, penalty), task.truth[task.test]
    draws = weighted_auc(decision, truth, task.draws)
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return {
        "probe": task.name,
        "member": member,
        "k": k,
        "auc": _auc(decision, truth),
        "auc_low": float(low),
        "auc_high": float(high),
        "accuracy": float(((decision > 0) == truth).mean()),
        "n": len(truth),
    }


def _fitted(task: _Task, features: Floats, penalty: float) -> NDArray[np.float64]:
    """Log odds of the held-out texts; features are standardised by train."""
    from sklearn.linear_model import LogisticRegression

    x = features.astype(np.float64)
    mean, spread = x[task.train].mean(axis=0), x[task.train].std(axis=0)
    x = (x - mean) / np.where(spread > 0, spread, 1)
    fitted = LogisticRegression(C=penalty, max_iter=5000).fit(x[task.train], task.truth[task.train])
    decision: NDArray[np.float64] = fitted.decision_function(x[task.test])
    return decision


def _auc(decision: NDArray[np.float64], truth: Bools) -> float:
    return float(weighted_auc(decision, truth, np.ones((1, len(truth))))[0])


def weighted_auc(decision: NDArray[np.float64], truth: Bools, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """[draws]: P(decision of a true text > that of a false one), ties by half; `weights` [draws, texts].

    NaN where a draw has texts of one label only.
    """
    order = np.argsort(decision, kind="stable")
    starts = np.flatnonzero(np.diff(decision[order], prepend=-np.inf) != 0)  # of equal decisions
    false, true = (np.add.reduceat((weights * which)[:, order], starts, axis=1) for which in (~truth, truth))
    below = np.cumsum(false, axis=1) - false / 2
    pairs = true.sum(axis=1) * false.sum(axis=1)
    return np.where(pairs > 0, (true * below).sum(axis=1) / np.maximum(pairs, 1), np.nan)
