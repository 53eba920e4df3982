"""Known ways in which a comparison fails, each a sentence where what is recorded shows it.

Numbers are those of the list in docs/how-to/compare.md. Thresholds are heuristics, not tuned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from actpipe.analysis.statistics.intervals import FEW_SEEDS

from .arm import Arm
from .matching import Matched
from .overlap import common

DENSITY_FACTOR = 2.0  # of medians
WANTED_OVERLAP = 0.5
LOSS_NATS = 0.01  # matched: within this
L0_SHARE = 0.1
SHARE = 0.05  # of units: dead, undefined
TOKEN_SHARE = 0.1
UNEXPLAINED = 0.05  # FVU from which what is left out is worth a word
UNIT_SHARE = 0.1


class Subject(NamedTuple):
    arm: Arm
    matched: Matched

    @property
    def name(self) -> str:
        return self.arm.name


class Lint(NamedTuple):
    number: int
    name: str
    text: str


Pair = tuple[Subject, Subject]
Check = Callable[[Subject], str | None]
PairCheck = Callable[[Pair], str | None]


def lints(arms: Sequence[Arm], matched: Sequence[Matched]) -> list[Lint]:
    """Those that fire, by number."""
    subjects = [Subject(*each) for each in zip(arms, matched, strict=True)]
    pairs = list(itertools.combinations(subjects, 2))
    of_arms = [(number, name, check(each)) for number, name, check in OF_ARMS for each in subjects]
    of_pairs = [(number, name, check(pair)) for number, name, check in OF_PAIRS for pair in pairs]
    found = [Lint(number, name, text) for number, name, text in (*of_arms, *of_pairs) if text]
    return sorted(found, key=lambda lint: lint.number)


def _seeds(one: Subject) -> str | None:
    n = len(one.matched.seeds)
    if n >= FEW_SEEDS:
        return None
    return f"Exploratory: {one.name} has {n} seed{'s' * (n > 1)}, and a claim needs {FEW_SEEDS}."


def _controls(one: Subject) -> str | None:
    missing = [name for name in ("shuffled", "random_directions") if name not in one.matched.controls]
    return f"{one.name} lacks the control {' and '.join(missing)}." if missing else None


def _unexplained(one: Subject) -> str | None:
    fvu = one.matched.fvu
    if fvu is None or fvu <= UNEXPLAINED:
        return None
    return f"{one.name} leaves {fvu:.0%} of the variance unexplained, and no score says anything of that part."


def _sampled(one: Subject) -> str | None:
    if one.matched.units >= one.matched.width:
        return None
    return f"Of {one.name} {one.matched.units:,} of {one.matched.width:,} units were analysed; its L0 is that of these."


def _densities(pair: Pair) -> str | None:
    first, second = pair
    a, b = first.matched.median_density, second.matched.median_density
    if not a or not b:
        return None
    overlap = _overlap(pair)
    if max(a / b, b / a) <= DENSITY_FACTOR and overlap >= WANTED_OVERLAP:
        return None
    return (
        f"Densities differ: half of the units of {first.name} fire on more than {a:.2g} of rows and of "
        f"{second.name} on more than {b:.2g}; histograms overlap by {overlap:.2f}. Read the adjusted means."
    )


def _overlap(pair: Pair) -> float:
    """Over alive units: density is a number that all of them have."""
    first, second = (
        [replace(each, values={"density": each.density}) for each in subject.arm.measured] for subject in pair
    )
    return float(common(first, second, ["density"]).overlap[0, 0])


def _losses(pair: Pair) -> str | None:
    first, second = pair
    names = f"{first.name} and {second.name}"
    if not _one_model(pair):
        return (
            f"Losses are not known to be matched: {names} stand on different or unnamed models, whose own loss no "
            "report records."
        )
    a, b = first.matched.delta_ce, second.matched.delta_ce
    if a is None or b is None:
        return (
            None
            if _same_members(pair)
            else f"Losses are not known to be matched: of {names} the rise of the loss is not recorded."
        )
    if abs(a - b) <= LOSS_NATS:
        return None
    return f"Losses are not matched: they rise by {a:.3f} nats with {first.name} and by {b:.3f} with {second.name}."


def _parameters(pair: Pair) -> str | None:
    first, second = pair
    if _one_model(pair) or _same_members(pair):
        return None
    names = f"{first.name} and {second.name}"
    return f"Parameters are not known to be matched: how many the models of {names} have is not recorded."


def _sites(pair: Pair) -> str | None:
    first, second = pair
    if first.matched.hook == second.matched.hook:
        return None
    return f"Places differ: {first.name} is at {first.matched.hook} and {second.name} at {second.matched.hook}."


def _sparsity(pair: Pair) -> str | None:
    first, second = pair
    a, b = first.matched.l0, second.matched.l0
    if a is None or b is None or abs(a - b) <= L0_SHARE * max(a, b):
        return None
    return f"L0 is not matched: {a:.3g} of {first.name} and {b:.3g} of {second.name}."


def _dead(pair: Pair) -> str | None:
    first, second = pair
    a, b = 1 - first.matched.alive, 1 - second.matched.alive
    if abs(a - b) <= SHARE:
        return None
    return f"Dead units are in no mean, and there are {a:.0%} of them in {first.name} and {b:.0%} in {second.name}."


def _token_units(pair: Pair) -> str | None:
    first, second = pair
    a, b = first.matched.token_units, second.matched.token_units
    if a is None or b is None or abs(a - b) <= TOKEN_SHARE:
        return None
    return (
        f"Functions of the current token score well everywhere, and are {a:.0%} of the units of {first.name} and "
        f"{b:.0%} of {second.name}; read the strata."
    )


def _twins(pair: Pair) -> str | None:
    first, second = pair
    if _one_model(pair):
        return None
    return (
        f"Random twins are missing: neither {first.name} nor {second.name} is compared with its model at "
        "initialisation, so what the architecture gives by itself is not known."
    )


def _signs(pair: Pair) -> str | None:
    first, second = pair
    a, b = first.matched.negative_units, second.matched.negative_units
    if a is None or b is None or (a > 0) == (b > 0):
        return None
    halved, whole = (first, second) if a > 0 else (second, first)
    return f"Units of {halved.name} are halves of features with two signs; those of {whole.name} are one-sided."


def _units(pair: Pair) -> str | None:
    first, second = pair
    a, b = first.matched.width, second.matched.width
    if abs(a - b) <= UNIT_SHARE * max(a, b):
        return None
    return (
        f"Numbers of units differ: {a:,} of {first.name} and {b:,} of {second.name}; a wider set is easier to "
        "explain and less sensitive."
    )


def _texts(pair: Pair) -> str | None:
    first, second = pair
    a, b = first.matched, second.matched
    if a.tokenizer != b.tokenizer:
        return f"Tokenizers of {first.name} and {second.name} differ, and with them every score of tokens and rules."
    if (a.dataset, a.tokens, a.documents, a.context) != (b.dataset, b.tokens, b.documents, b.context):
        said = [
            f"{each.name} on {m.tokens:,} tokens of {m.dataset or 'an unnamed text'} in contexts of {m.context}"
            for each, m in ((first, a), (second, b))
        ]
        return f"Texts differ: {' and '.join(said)}."
    return None


def _undefined(pair: Pair) -> str | None:
    first, second = pair
    a, b = first.matched.undefined, second.matched.undefined
    if a is None or b is None or abs(a - b) <= SHARE:
        return None
    return f"Up to {a:.0%} of the alive units of {first.name} and {b:.0%} of those of {second.name} have no score."


def _one_model(pair: Pair) -> bool:
    """Arms on one store stand on one model, named or not."""
    a, b = (each.matched for each in pair)
    return a.store == b.store or (a.model is not None and a.model == b.model)


def _same_members(pair: Pair) -> bool:
    a, b = (each.matched for each in pair)
    return (a.store, a.members, a.configuration) == (b.store, b.members, b.configuration)


OF_ARMS: tuple[tuple[int, str, Check], ...] = (
    (7, "what is not explained", _unexplained),
    (9, "some of the units", _sampled),
    (15, "controls missing", _controls),
    (16, "few seeds", _seeds),
)
OF_PAIRS: tuple[tuple[int, str, PairCheck], ...] = (
    (1, "density", _densities),
    (3, "loss", _losses),
    (4, "parameters", _parameters),
    (6, "places", _sites),
    (8, "L0", _sparsity),
    (10, "dead units", _dead),
    (12, "token units", _token_units),
    (15, "random twins", _twins),
    (19, "signs", _signs),
    (21, "width", _units),
    (24, "text", _texts),
    (27, "undefined scores", _undefined),
)
