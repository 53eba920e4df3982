"""Frozen dictionaries of a sweep as controls of its other members: what learning the frozen half was worth.

Of each kind the control of a member is the one of its hook whose L0 is nearest, of its own seed where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .statistics import Measured

FROZEN = ("frozen_decoder", "soft_frozen_decoder", "frozen_encoder")  # architectures

Row = dict[str, Any]


def frozen_controls(members: Sequence[Row], measured: Sequence[Measured]) -> list[Measured]:
    """`members`: rows of the table of members."""
    own = {each.member: each for each in measured if each.control is None}
    found = []
    for member in members:
        if not member["path"] or member["architecture"] in FROZEN:  # what the run did not train is no part of its sweep
            continue
        subject = own[member["member"]]
        for frozen in _nearest(member, members):
            found.append(
                replace(
                    own[frozen["member"]],
                    member=subject.member,
                    configuration=subject.configuration,
                    dictionary=subject.dictionary,
                    control=frozen["architecture"],
                )
            )
    return found


def _nearest(member: Row, members: Sequence[Row]) -> Iterator[Row]:
    for kind in FROZEN:
        alike = [each for each in members if each["architecture"] == kind and each["hook"] == member["hook"]]
        alike = [each for each in alike if each["seed"] == member["seed"]] or alike
        if alike:
            yield min(alike, key=lambda each: abs(math.log(_l0(each) / _l0(member))))


def _l0(member: Row) -> float:
    return max(float(member["analysed_l0"]), 1e-12)  # of a dictionary that never fires
