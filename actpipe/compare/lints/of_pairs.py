"""Lints of two arms held against each other. Thresholds are heuristics, not tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actpipe.analysis.statistics import Measured
from actpipe.analysis.statistics.strata import Floats
from actpipe.compare.designs import AS_GIVEN, ISO_LOSS, ISO_PARAMETER, L0_SHARE
from actpipe.compare.overlap import common, histograms
from actpipe.compare.stand import Stand
from actpipe.compare.subjects import NATIVE
from actpipe.compare.verdicts import OPPOSITE

from .subject import Pair

DENSITY_FACTOR = 2.0  # of medians
WANTED_OVERLAP = 0.5
SHARE = 0.05  # of units: dead, undefined
TOKEN_SHARE = 0.1
UNIT_SHARE = 0.1


def _densities(pair: Pair) -> str | None:
    a, b = pair.first.matched.median_density, pair.second.matched.median_density
    if not a or not b:
        return None
    overlap = _overlap(pair)
    if max(a / b, b / a) <= DENSITY_FACTOR and overlap >= WANTED_OVERLAP:
        return None
    return (
        f"Densities differ: half of the units of {pair.first.name} fire on more than {a:.2g} of rows and of "
        f"{pair.second.name} on more than {b:.2g}; histograms overlap by {overlap:.2f}. Read the adjusted means."
    )


def _overlap(pair: Pair) -> float:
    """Over alive units: density is a number that all of them have."""
    return float(common(*(_density_histogram(each.stand) for each in pair[:2])).overlap[0, 0])


def _density_histogram(stood: Stand) -> Floats:
    measured = [each for one in stood.pools for each in one.measured]
    bare = [
        Measured(
            member=each.member, configuration="", dictionary="", values={"density": each.density},
            density=each.density, mass=each.mass, token_r2=each.token_r2,
        )
        for each in measured
    ]  # fmt: skip
    return histograms(bare, ["density"])


def _losses(pair: Pair) -> str | None:
    design = pair.sides.design(ISO_LOSS)
    if design.first is not None:
        return None
    return f"Losses of {pair.first.name} and {pair.second.name} are not matched: {design.reason}."


def _parameters(pair: Pair) -> str | None:
    design = pair.sides.design(ISO_PARAMETER)
    if design.first is not None or "overlap" in design.reason or "one text" in design.reason:
        return None
    return f"Parameters of {pair.first.name} and {pair.second.name} are not matched: {design.reason}."


def _activations(pair: Pair) -> str | None:
    a, b = pair.first.matched.activations, pair.second.matched.activations
    if not a or not b or a == b:
        return None
    return f"Nonlinearities differ: {' and '.join(a)} in {pair.first.name}, {' and '.join(b)} in {pair.second.name}."


def _sites(pair: Pair) -> str | None:
    a, b = pair.first.matched.layers, pair.second.matched.layers
    if set(a) == set(b):
        return None
    return f"Layers differ: {pair.first.name} is at {', '.join(a)} and {pair.second.name} at {', '.join(b)}."


def _sparsity(pair: Pair) -> str | None:
    """As the levels stand; the designs compare where L0 is the same."""
    first, second = pair.first.matched, pair.second.matched
    if first.scale != second.scale or first.scale is None:
        return f"L0 of {first.arm} and {second.arm} is not recorded in one way, or not on one text."
    a, b = first.l0, second.l0
    if max(a[0], b[0]) <= (1 + L0_SHARE) * min(a[1], b[1]):
        return None
    return f"L0 is not matched: {_ends(a)} of {first.arm} and {_ends(b)} of {second.arm}."


def _ends(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{value:.3g}" for value in values))


def _dead(pair: Pair) -> str | None:
    a, b = 1 - pair.first.matched.alive, 1 - pair.second.matched.alive
    if abs(a - b) <= SHARE:
        return None
    return (
        f"Dead units are in no mean, and there are {a:.0%} of them in {pair.first.name} and {b:.0%} in "
        f"{pair.second.name}."
    )


def _covered(pair: Pair) -> str | None:
    """Most units, or most of what is computed?"""
    found: dict[str, dict[str, str]] = {}
    for row in pair.rows:
        if (row["design"], row["stratum"], row["role"]) == (AS_GIVEN, "all", "headline"):
            found.setdefault(row["metric"], {})[row["estimate"]] = row["verdict"]
    apart = [name for name, each in found.items() if each["mean"] == OPPOSITE.get(each["contribution"])]
    if not apart:
        return None
    return (
        f"Of {pair.first.name} and {pair.second.name} most units and most of what is written name different arms in "
        f"{' and '.join(apart)}: compare the estimates mean and contribution."
    )


def _token_units(pair: Pair) -> str | None:
    a, b = pair.first.matched.token_units, pair.second.matched.token_units
    if a is None or b is None or abs(a - b) <= TOKEN_SHARE:
        return None
    return (
        f"Functions of the current token score well everywhere, and are {a:.0%} of the units of {pair.first.name} and "
        f"{b:.0%} of {pair.second.name}; read the strata."
    )


def _twins(pair: Pair) -> str | None:
    missing = [each for each in pair[:2] if not each.matched.twin]
    if pair.one_model or not missing:
        return None
    names = " and ".join(each.name for each in missing)
    dictionaries = [each.matched for each in missing if each.matched.architecture != NATIVE]
    on = " and ".join(f"{name}@init" for each in dictionaries for name in each.models)
    found = f"; no run of dictionaries on {on} was named or lies beside theirs" if on else ""
    return (
        f"Random twins are missing: {names} stand{'s' * (len(missing) == 1)} beside no model at "
        f"initialisation{found}, so what the architecture gives by itself is not known."
    )


def _signs(pair: Pair) -> str | None:
    a, b = pair.first.matched.negative_units, pair.second.matched.negative_units
    if a is None or b is None or (a > 0) == (b > 0):
        return None
    halved, whole = (pair.first, pair.second) if a > 0 else (pair.second, pair.first)
    return f"Units of {halved.name} are halves of features with two signs; those of {whole.name} are one-sided."


def _units(pair: Pair) -> str | None:
    a, b = pair.first.matched.width, pair.second.matched.width
    if abs(a - b) <= UNIT_SHARE * max(a, b):
        return None
    return (
        f"Numbers of units differ: {a:,} of {pair.first.name} and {b:,} of {pair.second.name}; a wider set is easier "
        "to explain and less sensitive."
    )


def _texts(pair: Pair) -> str | None:
    a, b = pair.first.matched, pair.second.matched
    if set(a.tokenizer) != set(b.tokenizer):
        return f"Tokenizers of {a.arm} and {b.arm} differ, and with them every score of tokens and rules."
    if (a.dataset, a.tokens, a.documents, a.context) != (b.dataset, b.tokens, b.documents, b.context):
        said = [
            f"{m.arm} on {m.tokens:,} tokens of {m.dataset or 'an unnamed text'} in contexts of {m.context}"
            for m in (a, b)
        ]
        return f"Texts differ: {' and '.join(said)}."
    return None


def _undefined(pair: Pair) -> str | None:
    a, b = pair.first.matched.undefined, pair.second.matched.undefined
    if a is None or b is None or abs(a - b) <= SHARE:
        return None
    return (
        f"Up to {a:.0%} of the alive units of {pair.first.name} and {b:.0%} of those of {pair.second.name} have no "
        "score."
    )


OF_PAIRS: tuple[tuple[int, str, Callable[[Pair], str | None]], ...] = (
    (1, "density", _densities),
    (3, "loss", _losses),
    (4, "parameters", _parameters),
    (5, "nonlinearity", _activations),
    (6, "layers", _sites),
    (8, "L0", _sparsity),
    (10, "dead units", _dead),
    (11, "computation", _covered),
    (12, "token units", _token_units),
    (15, "random twins", _twins),
    (19, "signs", _signs),
    (21, "width", _units),
    (24, "text", _texts),
    (27, "undefined scores", _undefined),
)
