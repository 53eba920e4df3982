"""At which levels two arms are alike enough to be held against each other.

    as given        all levels of each arm, with the same weight
    iso-parameter   models with the same number of parameters (within 2 %) that were trained on as many tokens: levels
                    where L0_eff is the same
    iso-loss        levels where the loss of the system is the same, and L0_eff too

"The same" is within 0.01 nats and within 10 % of L0_eff. Between levels an arm is interpolated linearly, on the
triangulation of its levels in (loss, log₂ L0_eff), and beyond their hull never: there is no overlap then. With levels
p₁ … p_n of one arm and q₁ … q_m of the other and c the middle of all of them, the weights w and v are what minimises

    Σ wᵢ |pᵢ − c|² + Σ vⱼ |qⱼ − c|²     over w, v ≥ 0, Σ w = Σ v = 1, with Σ wᵢ pᵢ within reach of Σ vⱼ qⱼ

which for a given point of a hull is its Delaunay triangle (the lower hull of the lifted points), and picks among the
points that both arms reach those nearest to the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actpipe.analysis.statistics.strata import Floats

from .arm import Arm
from .coordinates import Coordinates, of_one_scale

AS_GIVEN, ISO_PARAMETER, ISO_LOSS = "as given", "iso-parameter", "iso-loss"
DESIGNS = (AS_GIVEN, ISO_PARAMETER, ISO_LOSS)
LOSS_NATS = 0.01
L0_SHARE = 0.1
PARAMETER_SHARE = 0.02
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Design:
    """Weights of the levels of two arms. `reason` is a sentence where there are none."""

    name: str
    first: Floats | None = None
    second: Floats | None = None
    reason: str = ""

    @property
    def status(self) -> str:
        return "matched" if self.first is not None else "no overlap" if "overlap" in self.reason else "not possible"


def designs(
    first: Arm, second: Arm, of_first: Sequence[Coordinates | None], of_second: Sequence[Coordinates | None]
) -> list[Design]:
    given = Design(name=AS_GIVEN, first=_even(len(of_first)), second=_even(len(of_second)))
    return [given, _iso_parameter(first, second, of_first, of_second), _iso_loss(first, second, of_first, of_second)]


def _iso_parameter(
    first: Arm, second: Arm, of_first: Sequence[Coordinates | None], of_second: Sequence[Coordinates | None]
) -> Design:
    if reason := _unlike_models(first, second):
        return Design(name=ISO_PARAMETER, reason=reason)
    return _matched(ISO_PARAMETER, (first, second), (of_first, of_second), wanted=[1])


def _iso_loss(
    first: Arm, second: Arm, of_first: Sequence[Coordinates | None], of_second: Sequence[Coordinates | None]
) -> Design:
    if len({system.tokenizer for arm in (first, second) for system in arm.systems}) > 1:
        return Design(name=ISO_LOSS, reason="tokenizers differ, so losses a token do not compare")
    return _matched(ISO_LOSS, (first, second), (of_first, of_second), wanted=[0, 1])


def _matched(
    name: str, arms: tuple[Arm, Arm], found: tuple[Sequence[Coordinates | None], ...], *, wanted: list[int]
) -> Design:
    if not of_one_scale([each for side in found for each in side]):
        return Design(name=name, reason="losses or L0 are not recorded on one text")
    points = [_points(side)[:, wanted] for side in found]
    weights = matching_weights(*points)
    if weights is None:
        named = " and ".join(["loss", "L0_eff"][i] for i in wanted)
        return Design(name=name, reason=f"no overlap in {named}: {_ranges(arms, found)}")
    return Design(name=name, first=weights[0], second=weights[1])


def matching_weights(first: Floats, second: Floats) -> tuple[Floats, Floats] | None:
    """Of levels [n, k] and [m, k] in units of reach; None where the hulls are further apart than that."""
    from scipy.optimize import linprog

    n, both = len(first), np.concatenate([first, second])
    cost = np.square(both - both.mean(axis=0)).sum(axis=1)
    difference = np.concatenate([first, -second]).T  # [k, n + m]
    ones = np.zeros((2, len(both)))
    ones[0, :n] = ones[1, n:] = 1
    reach = np.full(2 * len(difference), 1 + _SLACK)
    found = linprog(cost, A_ub=np.concatenate([difference, -difference]), b_ub=reach, A_eq=ones, b_eq=[1, 1])
    return (found.x[:n], found.x[n:]) if found.status == 0 else None


def _points(side: Sequence[Coordinates | None]) -> Floats:
    """[levels, 2]: loss and log₂ L0 in units within which they are the same."""
    return np.array([[each.loss / LOSS_NATS, each.log_l0 / np.log2(1 + L0_SHARE)] for each in side if each])


def _even(n: int) -> Floats:
    return np.full(n, 1 / n)


def parameters(arm: Arm) -> list[int]:
    """Of the models, beside the tables; empty where they are not recorded."""
    found = [system.described.get("model", {}).get("parameters", {}).get("other") for system in arm.systems]
    return sorted({int(each) for each in found if each is not None}) if all(found) else []


def _unlike_models(first: Arm, second: Arm) -> str:
    if models(first) == models(second) and models(first) is not None:
        return ""
    ours, theirs = parameters(first), parameters(second)
    if not ours or not theirs:
        return "parameters of the models are not recorded"
    if max(*ours, *theirs) > (1 + PARAMETER_SHARE) * min(*ours, *theirs):
        return f"parameters differ: {ours[-1]:,} and {theirs[-1]:,} beside the tables"
    tokens = [{_trained(system) for system in arm.systems} for arm in (first, second)]
    if None in tokens[0] | tokens[1]:
        return "how many tokens the models were trained on is not recorded"
    return "" if len(tokens[0] | tokens[1]) == 1 else "the models were trained on different numbers of tokens"


def models(arm: Arm) -> frozenset[str] | None:
    """Which models the arm stands on; arms on one store stand on one model, named or not."""
    found = [
        system.described.get("model", {}).get("fingerprint") or system.summary["store"]["fingerprint"]
        for system in arm.systems
    ]
    return frozenset(found) if found else None


def _trained(system: object) -> int | None:
    described = getattr(system, "described", {})
    tokens: int | None = described.get("model", {}).get("trained_tokens")
    return tokens


def _ranges(arms: tuple[Arm, Arm], found: tuple[Sequence[Coordinates | None], ...]) -> str:
    said = []
    for arm, side in zip(arms, found, strict=True):
        losses, l0s = ([getattr(each, name) for each in side if each] for name in ("loss", "l0"))
        said.append(f"{arm.name} has {_range(losses, '.3f')} nats and L0_eff {_range(l0s, '.3g')}")
    return ", ".join(said)


def _range(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
