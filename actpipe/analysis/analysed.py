"""What a set of units comes to, from all that was gathered about it and its controls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.errors import ActpipeError

from .activity import Activity
from .directions import Logits, logits, neighbours
from .gathering import Gathering, scored
from .inputs import Member
from .member_pass import SHUFFLED, ControlPass, MemberPass
from .scores import Score, Scored
from .stability import Side
from .stability.code_sample import CodeSample
from .tables import controls_table, examples_table, histograms_table, units_table
from .token_sketch import TokenSketch
from .units import UnitSet
from .units.dictionary import DictionaryUnits

OWN = "own"  # what was gathered of the member's own units, beside that of its controls


@dataclass(frozen=True)
class Found:
    """What every score says of one set of units, by the name of the score."""

    units: UnitSet
    scored: dict[str, Scored]
    density: NDArray[np.float64]
    mass: NDArray[np.float64]  # Σ a·‖w‖ over rows

    @classmethod
    def of(cls, units: UnitSet, scored: dict[str, Scored], activity: Activity) -> Found:
        norms = torch.linalg.vector_norm(units.directions, dim=1).double().cpu().numpy()
        return cls(units, scored, activity.density, activity.power_sums[0] * norms)

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """By metric, [n]."""
        return {name: values for scored in self.scored.values() for name, values in scored.columns.items()}

    def some(self, index: NDArray[np.int64], units: UnitSet, scored: dict[str, Scored]) -> Found:
        return Found(units, scored, self.density[index], self.mass[index])


@dataclass(frozen=True, kw_only=True)
class Analysed:
    member: Member
    width: int
    tables: dict[str, pa.Table]  # units, examples, histograms, controls
    configuration: str  # members of one configuration differ in their seed alone
    shuffled_units: NDArray[np.int64]  # of the control shuffled, in order
    side: Side  # for the comparison with other seeds
    found: Found
    controls: dict[str, Found]  # by the name of the control
    not_finite: int
    tokens_sketched: bool  # token scores know the heaviest tokens of each unit alone
    logits_missing: str | None  # why there are none


def analysed(
    member: Member,
    found: MemberPass,
    controls: Mapping[str, ControlPass],
    seconds: Mapping[str, Gathering],
    *,
    scores: Sequence[Score],
    model: str | None,
) -> Analysed:
    """By the name of the control; `seconds`: what the second pass gathered of it, and of the units (`OWN`)."""
    units, configuration = found.units, _configuration(member, found.units)
    with torch.inference_mode():
        raised, missing = _logits(model, units.writes, units.directions)
        nearest = neighbours(units.source, units.feature)
    tables = {
        "units": units_table(found, raised, nearest),
        "examples": examples_table(found),
        "histograms": histograms_table(found),
        "controls": controls_table(found, controls),
    }
    firsts = {OWN: found.scores, SHUFFLED: found.shuffled_scores}
    firsts |= {name: each.scores for name, each in controls.items()}
    said = {name: scored(first, seconds[name], scores) for name, first in firsts.items()}
    everything = Found.of(units, said[OWN], found.activity)
    return Analysed(
        member=member,
        width=len(units.source),
        tables=tables,
        configuration=configuration,
        shuffled_units=found.shuffled_units,
        side=Side(member=member.name, configuration=configuration, units=units, sample=_sample(found)),
        found=everything,
        controls={
            SHUFFLED: everything.some(found.shuffled_units, found.shuffled_scores.subject.units, said[SHUFFLED]),
            **{name: Found.of(each.units, said[name], each.activity) for name, each in controls.items()},
        },
        not_finite=found.not_finite,
        tokens_sketched=isinstance(found.token_sums, TokenSketch),
        logits_missing=missing,
    )


def _logits(model: str | None, writes: str, directions: Tensor) -> tuple[Logits | None, str | None]:
    """Logits, or None and the reason."""
    if model is None:
        return None, "the store does not say which model it is from"
    try:
        found = logits(model, writes, directions)
    except ActpipeError as error:  # the model may have been moved since the harvest; everything else can be shown
        return None, str(error)
    return found, None if found else f"{writes} has no direct path to the logits"


def _sample(found: MemberPass) -> CodeSample | None:
    """What the score of neighbours gathered; without it seeds are compared by directions alone."""
    gathered = found.scores.accumulators.get("neighbours")
    return gathered if isinstance(gathered, CodeSample) else None


def _configuration(member: Member, units: UnitSet) -> str:
    if not isinstance(units, DictionaryUnits) or member.kind != "dictionary":
        return member.name
    made = units.dictionary.config
    kept = {name: made.get(name) for name in ("architecture", "fixed", "hyper", "n")}
    return json.dumps({"hook": member.hook, **kept}, sort_keys=True)
