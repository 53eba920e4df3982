"""How often and how strongly each unit fires: counts, power sums, maxima. 48 bytes a unit."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .firings import Firings


class Activity:
    """Over the rows on which a unit fires: count, Σa, Σa², Σa³, Σa⁴ in float64, and the maximum."""

    def __init__(self, n_units: int) -> None:
        self.rows = 0  # counted rows seen, N
        self.count = np.zeros(n_units, dtype=np.int64)
        self.power_sums = np.zeros((4, n_units))  # of a, a², a³, a⁴
        self.max = np.zeros(n_units, dtype=np.float32)  # 0 for a unit that never fired

    def update(self, batch: Firings) -> None:
        self.rows += int(batch.rows.counted.sum())
        starts, _, value = batch.by_unit
        _add(starts, value, self.count, self.power_sums, self.max)

    def merge(self, other: Self) -> None:
        self.rows += other.rows
        self.count += other.count
        self.power_sums += other.power_sums
        np.maximum(self.max, other.max, out=self.max)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"rows": np.array(self.rows), "count": self.count, "power_sums": self.power_sums, "max": self.max}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self.rows = int(state["rows"])
        self.count, self.power_sums, self.max = state["count"], state["power_sums"], state["max"]

    @property
    def density(self) -> NDArray[np.float64]:
        return self.count / max(self.rows, 1)

    def moments(self) -> dict[str, NDArray[np.float64]]:
        """mean, std (population), skew and excess kurtosis over firing rows; NaN where undefined.

        Skew and kurtosis need a spread that float64 power sums can resolve: below a millionth of the mean they are NaN.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            m1, m2, m3, m4 = self.power_sums / self.count
            variance = np.maximum(m2 - m1**2, 0)
            std = np.sqrt(variance)
            spread = np.where(std > 1e-6 * m1, std, np.nan)
            third = m3 - 3 * m1 * m2 + 2 * m1**3
            fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
            return {"mean": m1, "std": std, "skew": third / spread**3, "kurtosis": fourth / spread**4 - 3}


@compiled
def _add(starts: Any, value: Any, count: Any, power_sums: Any, largest: Any) -> None:
    for u in range(len(count)):
        count[u] += starts[u + 1] - starts[u]
        one, two, three, four, top = 0.0, 0.0, 0.0, 0.0, largest[u]
        for i in range(starts[u], starts[u + 1]):
            a = np.float64(value[i])
            square = a * a
            one += a
            two += square
            three += square * a
            four += square * square
            top = max(top, value[i])
        power_sums[0, u] += one
        power_sums[1, u] += two
        power_sums[2, u] += three
        power_sums[3, u] += four
        largest[u] = top
