"""An analysed member and its controls as the statistics need them: values, densities and masses of every unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .analysed import Analysed, Found
from .member_pass import SHUFFLED
from .schemas import SCORES as TOKEN_SCORES
from .scores import Metric, Score
from .statistics import Measured

Column = NDArray[np.float64]

TOKEN_METRICS = (
    Metric("token_r2", "Share of the variance that the current token explains, corrected for chance."),
    Metric("token_entropy", "Entropy of the tokens that a unit's activation falls on.", "bits"),
    Metric("purity", "Share of a unit's activation on its heaviest token."),
    Metric("specificity", "How far the tokens of a unit are from those of the corpus.", "bits"),
)


def metrics_of(scores: Sequence[Score]) -> list[Metric]:
    return [*TOKEN_METRICS, *(metric for score in scores for metric in score.metrics)]


def measured(analysed: Analysed, model: str | None) -> list[Measured]:
    """The member's own units first, then each control's."""
    units, controls = analysed.tables["units"], analysed.tables["controls"]
    own = analysed.found
    member, configuration = analysed.member.name, analysed.configuration

    def one(found: Found, values: dict[str, Column], control: str | None = None, *, same: bool = False) -> Measured:
        return Measured(
            member=member,
            configuration=configuration,
            dictionary=str(analysed.member.result.get("seed", 0)),
            model=model or "",
            control=control,
            same_units=same,
            values=values,
            density=found.density,
            mass=found.mass,
            token_r2=values["token_r2"],
        )

    few = analysed.controls[SHUFFLED]
    moved = _of_control(controls, "shuffled_tokens") | few.columns
    spread = {name: _spread(each, analysed.shuffled_units, own.units.n) for name, each in moved.items()}
    return [
        one(own, {name: _column(units, name) for name in TOKEN_SCORES} | own.columns),
        one(own, spread, SHUFFLED, same=True),
        *(
            one(found, _of_control(controls, name) | found.columns, name)
            for name, found in analysed.controls.items()
            if name != SHUFFLED
        ),
    ]


def _of_control(controls: pa.Table, name: str) -> dict[str, Column]:
    rows = controls.filter(pc.equal(controls["control"], name))
    return {score: _column(rows, score) for score in TOKEN_SCORES}


def _spread(values: Column, units: NDArray[np.int64], n: int) -> Column:
    """Of some units to a column of all, NaN where there is none."""
    column = np.full(n, np.nan)
    column[units] = values
    return column


def _column(table: pa.Table, name: str) -> Column:
    """As float64, null as NaN."""
    values: Column = table[name].to_numpy().astype(np.float64)
    return values
