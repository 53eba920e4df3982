"""Members that are controls of the others at their hook: what was not learned, or only half.

    baselines             pca, ica, nmf, random, basis, neurons; trained in the run or fitted here
    frozen dictionaries   of a sweep, for its other dictionaries

Of each kind the control of a member is the one whose L0 is nearest, of its own seed where there is one, and within a
factor of two: a score of sparser units is no measure of denser ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .config import BASELINES
from .statistics import Measured

FURTHEST = 2.0  # ratio of two L0; heuristic, between neighbours of a usual grid there is less
FROZEN = ("frozen_decoder", "soft_frozen_decoder", "frozen_encoder")  # architectures

Row = dict[str, Any]


def member_controls(members: Sequence[Row], measured: Sequence[Measured]) -> list[Measured]:
    """`members`: rows of the table of members."""
    own = {each.member: each for each in measured if each.control is None}
    found = []
    for member in members:
        subject = own[member["member"]]
        for control in _nearest(member, members):
            found.append(
                replace(
                    own[control["member"]],
                    member=subject.member,
                    configuration=subject.configuration,
                    dictionary=subject.dictionary,
                    control=control["architecture"],
                )
            )
    return found


def _nearest(member: Row, members: Sequence[Row]) -> Iterator[Row]:
    for kind in _kinds(member):
        alike = [each for each in members if each["architecture"] == kind and each["hook"] == member["hook"]]
        alike = [each for each in alike if _apart(member, each) <= math.log(FURTHEST)]
        alike = [each for each in alike if each["seed"] == member["seed"]] or alike
        if alike:
            yield min(alike, key=lambda each: _apart(member, each))


def _apart(one: Row, other: Row) -> float:
    """|ln| of the ratio of their L0."""
    return abs(math.log(_l0(one) / _l0(other)))


def _kinds(member: Row) -> Sequence[str]:
    """Of controls. A frozen dictionary is measured against baselines, and a baseline against nothing of the kind."""
    if member["architecture"] in BASELINES:
        return ()
    of_the_run = bool(member["path"])
    return (*BASELINES, *FROZEN) if of_the_run and member["architecture"] not in FROZEN else BASELINES


def _l0(member: Row) -> float:
    return max(float(member["analysed_l0"]), 1e-12)  # of a dictionary that never fires
