"""What a judge reads of a finished report: units with windows, explanations of others, texts of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from actpipe.errors import Missing

from .questions import Explanation
from .windows import Unit, divided, window

Key = tuple[int, int]  # feature, sign
BUDGET = 16  # rules: where an explanation exists at several lengths, that of the primary score
# Fewer windows than these on either side and no rate means anything.
FEWEST_SHOWN, FEWEST_POSITIVE, FEWEST_SILENT = 3, 5, 10
_LOGIT_TOKENS = 10


@dataclass(frozen=True)
class ReportTables:
    folder: Path

    @property
    def samples_path(self) -> Path:
        return self.folder / "parquet" / "samples.parquet"

    @cached_property
    def texts(self) -> list[str]:
        path = self.folder / "vocabulary.json"
        if not path.is_file():
            raise Missing(f"{path} is not there, so tokens have no texts. Give the folder of a finished report.")
        return [str(text) for text in json.loads(path.read_text(encoding="utf-8"))]

    def members(self) -> list[str]:
        import pyarrow.compute as pc

        return [str(name) for name in pc.unique(self._samples(["member"])["member"]).to_pylist()]

    def units(self, member: str) -> list[Key]:
        """Those with any window, in order."""
        table = self._samples(["feature", "sign"], member=member)
        keys = np.stack([table[name].to_numpy().astype(np.int64) for name in ("feature", "sign")])
        return [(int(feature), int(sign)) for feature, sign in np.unique(keys, axis=1).T]

    def read(self, member: str, keys: Sequence[Key], *, seed: int) -> Iterator[Unit]:
        """In the order of `keys`; those with too few windows are left out."""
        import pyarrow.compute as pc

        wanted = set(keys)
        table = self._samples(None, member=member, features=sorted({feature for feature, _ in wanted}))
        logits = self._logit_tokens(member)
        found: dict[Key, list[Any]] = {key: [] for key in keys}
        for row in table.filter(pc.is_valid(table["peak"])).to_pylist():
            key = (row["feature"], row["sign"])
            if key in wanted:
                found[key].append(window(row, self.texts))
        for key, windows in found.items():
            shown, scored = divided(windows, seed)
            unit = Unit(member, *key, shown, scored, logits.get(key[0], ()) if key[1] > 0 else ())
            if _is_enough(unit):
                yield unit

    def explanations(self, source: str, member: str) -> dict[Key, Explanation]:
        """Of one author; at several budgets, the largest up to BUDGET, else the smallest."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        path = self.folder / "parquet" / "explanations.parquet"
        if not path.is_file():
            raise Missing(f"{path} is not there: nothing explains the units. A language model writes its own.")
        table = pq.read_table(path)
        rows = table.filter(pc.and_(pc.equal(table["member"], member), pc.equal(table["source"], source))).to_pylist()
        rows.sort(key=lambda row: _preference(row["budget"]))
        return {(row["feature"], row["sign"]): Explanation(row["text"], row["rule"], source) for row in rows}

    def _samples(
        self, columns: list[str] | None, *, member: str | None = None, features: list[int] | None = None
    ) -> Any:
        import pyarrow.parquet as pq

        if not self.samples_path.is_file():
            raise Missing(f"{self.samples_path} is not there, so there are no windows to judge. Analyze the run again.")
        conditions: list[tuple[str, str, Any]] = [] if member is None else [("member", "=", member)]
        conditions += [] if features is None else [("feature", "in", features)]
        return pq.read_table(self.samples_path, columns=columns, filters=conditions or None)

    def _logit_tokens(self, member: str) -> dict[int, tuple[str, ...]]:
        """Of positive units: what the report says their directions make likelier."""
        import pyarrow.parquet as pq

        path = self.folder / "parquet" / "units.parquet"
        if not path.is_file() or "top_logit_tokens" not in pq.read_schema(path).names:
            return {}
        table = pq.read_table(path, columns=["feature", "top_logit_tokens"], filters=[("member", "=", member)])
        return {
            row["feature"]: tuple(self.texts[token] for token in (row["top_logit_tokens"] or [])[:_LOGIT_TOKENS])
            for row in table.to_pylist()
        }


def _is_enough(unit: Unit) -> bool:
    positives = sum(w.is_positive for w in unit.scored)
    silent = sum(w.is_silent for w in unit.scored)
    shown = sum(w.is_positive for w in unit.shown)
    return shown >= FEWEST_SHOWN and positives >= FEWEST_POSITIVE and silent >= FEWEST_SILENT


def _preference(budget: int | None) -> tuple[bool, int]:
    """Later ones win."""
    known = BUDGET if budget is None else budget
    return known <= BUDGET, known if known <= BUDGET else -known
