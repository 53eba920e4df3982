"""Members that are controls of the others at their hook: what was not learned, or only half.

    baselines             pca, ica, nmf, random, basis, neurons; trained in the run or fitted here
    frozen dictionaries   of a sweep, for its other dictionaries

Of each kind the control of a member is the one whose L0 is nearest, of its own seed where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .config import BASELINES
from .statistics import Measured

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
        alike = [each for each in alike if each["seed"] == member["seed"]] or alike
        if alike:
            yield min(alike, key=lambda each: abs(math.log(_l0(each) / _l0(member))))


def _kinds(member: Row) -> Sequence[str]:
    """Of controls. A frozen dictionary is measured against baselines, and a baseline against nothing of the kind."""
    if member["architecture"] in BASELINES:
        return ()
    of_the_run = bool(member["path"])
    return (*BASELINES, *FROZEN) if of_the_run and member["architecture"] not in FROZEN else BASELINES


def _l0(member: Row) -> float:
    return max(float(member["analysed_l0"]), 1e-12)  # of a dictionary that never fires
