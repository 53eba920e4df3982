"""What a comparison says in words, held against its Parquet tables: every verdict follows from the numbers beside it,
and every sentence from a verdict. Written from docs/reference/compare-format.md, apart from what writes them.

    python -m tests.comparison_words FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actpipe.compare.opened import Comparison

Row = Mapping[str, Any]
OPENING = {
    "better": "{first} is better than {second}",
    "worse": "{second} is better than {first}",
    "no difference": "no difference between {first} and {second}",
    "undecided": "undecided between {first} and {second}",
    "no overlap": "no overlap between {first} and {second}",
    "withheld": "withheld between {first} and {second}",
}
AT = {"iso-loss": "at matched loss and L0", "iso-parameter": "at equal parameters and L0", "as given": "as given"}
KEY = ("first", "second", "twin", "place", "design", "metric", "stratum")


def agree(folder: Path) -> int:
    """AssertionError where words and numbers differ; else how many sentences were held against them."""
    found = Comparison.open(folder)
    pairs = {(*_key(row), row["estimate"]): row for row in _rows(found, "pairs")}
    verdicts = _rows(found, "verdicts")
    for row in pairs.values():
        _follows_from_its_interval(row, found.summary["config"]["margins"][row["metric"]])
    for row in verdicts:
        _follows_from_the_estimates(row, pairs)
    _claims(found, verdicts)
    _sentences(found, verdicts, pairs)
    summary = (folder / "summary.md").read_text(encoding="utf-8").replace("&lt;", "<").replace("\\|", "|")
    said = [*found.summary["claims"], *found.summary["verdicts"]]
    assert [sentence for sentence in said if f"* {sentence}" not in summary] == []
    return len(said)


def _follows_from_its_interval(row: Row, margin: float) -> None:
    sign = 1 if row["better"] == "higher" else -1
    if row["verdict"] in ("better", "worse"):
        side = sign if row["verdict"] == "better" else -sign
        assert side * row["difference"] > margin, row
        assert min(side * row["low"], side * row["high"]) > margin, row
        assert row["p_holm"] < 0.05, row
    elif row["verdict"] == "no difference":
        assert abs(row["difference"]) < margin, row
        assert row["p_equivalent"] < 0.05, row
    elif row["verdict"] == "no overlap":
        assert row["estimate"] == "density_adjusted", row
        assert row["overlap"] < 0.25, row
    else:
        assert row["verdict"] == "undecided", row


def _follows_from_the_estimates(row: Row, pairs: Mapping[tuple[Any, ...], Row]) -> None:
    mean, adjusted = (pairs[(*_key(row), estimate)]["verdict"] for estimate in ("mean", "density_adjusted"))
    if row["verdict"] in ("better", "worse", "no difference"):
        assert mean == adjusted == row["verdict"], row
    if row["verdict"] == "no overlap":
        assert adjusted == "no overlap", row


def _claims(found: Comparison, verdicts: list[Row]) -> None:
    designs = {(row["first"], row["second"], row["design"]): row for row in _rows(found, "designs")
               if row["place"] == "all" and not row["twin"]}  # fmt: skip
    volumes = {(row["first"], row["second"]): row for row in _rows(found, "hypervolumes")
               if row["metric"] == "rules_f1_std"}  # fmt: skip
    for row, sentence in zip(_rows(found, "claims"), found.summary["claims"], strict=True):
        names = row["first"], row["second"]
        assert sentence.startswith(OPENING[row["claim"]].format(**row)), sentence
        assert sentence.endswith(row["reason"]), sentence
        assert ("; exploratory" in sentence) == row["exploratory"], sentence
        matched = [designs[(*names, name)]["status"] for name in ("iso-parameter", "iso-loss")]
        if row["claim"] in ("better", "worse"):
            volume, side = volumes[names], 1 if row["claim"] == "better" else -1
            assert min(side * volume["low"], side * volume["high"]) > 0, row
            assert matched == ["matched", "matched"], row
            for design in ("iso-parameter", "iso-loss"):
                won = [each["metric"] for each in _of_all(verdicts, names, design) if each["verdict"] == row["claim"]]
                assert "rules_f1_std" in won, row
                assert len(won) > 1, row
        if matched == ["no overlap", "no overlap"]:
            assert row["claim"] in ("no overlap", "no difference"), row
        if "In hypervolume " in row["reason"]:
            ahead, behind = names if volumes[names]["low"] > 0 else names[::-1]
            assert f"In hypervolume {ahead} is ahead of {behind}." in row["reason"], row


def _sentences(found: Comparison, verdicts: list[Row], pairs: Mapping[tuple[Any, ...], Row]) -> None:
    strictest: dict[tuple[str, ...], Row] = {}
    for design in AT:
        for row in verdicts:
            if (row["role"], row["stratum"], row["place"], row["twin"], row["design"]) == (
                "headline", "all", "all", False, design,
            ):  # fmt: skip
                strictest.setdefault((row["first"], row["second"], row["metric"]), row)
    said = list(found.summary["verdicts"])
    assert len(said) == len(strictest)
    for row in strictest.values():
        numbers = pairs[(*_key(row), "mean")]
        opening = f"{row['metric']}, {AT[row['design']]}: {OPENING[row['verdict']].format(**row)}"
        (sentence,) = (each for each in said if each.startswith(opening) and each.endswith(row["reason"]))
        if numbers["low"] is not None:
            between = f"{row['first']} − {row['second']} = {numbers['difference']:.3f}"
            assert f"{between} ({numbers['low']:.3f} to {numbers['high']:.3f})" in sentence, sentence
        assert ("; exploratory" in sentence) == row["exploratory"], sentence


def _of_all(verdicts: list[Row], names: tuple[str, str], design: str) -> list[Row]:
    asked = (*names, False, "all", design, "all")
    keys = ("first", "second", "twin", "place", "design", "stratum")
    return [row for row in verdicts if tuple(row[name] for name in keys) == asked and row["role"] == "headline"]


def _rows(found: Comparison, name: str) -> list[Row]:
    rows: list[Row] = found.table(name).to_pylist()
    return rows


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


if __name__ == "__main__":
    print(f"{agree(Path(sys.argv[1]))} sentences agree with the tables.")
