"""What the means say, in words: which scores stand above their hardest control, and what asks for care."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .tables import Row

# Metric → what heads its column.
HEADLINE = {
    "rules_f1_std": "Rules, F1",
    "concept_f1_std": "Concept, F1",
    "ms_c": "MonoSemanticity",
    "ms_beyond_words": "beyond words",
}
DIGITS = {"ms_c": 3, "ms_beyond_words": 3}  # behind the point, where the scale asks for more than 2
_CLAIMS = {
    "rules_f1_std": "Rules tell when features fire",
    "concept_f1_std": "Features are concepts of the bank",
    "ms_c": "Features fire on texts that are alike",
    "ms_beyond_words": "Features fire on texts that are alike beyond their words",
}
MANY_DENSE, MANY_DEAD, MANY_UNDEFINED = 0.25, 0.1, 0.1  # shares from which a lint fires; heuristic
NAMED = 3  # dictionaries that a sentence names


@dataclass(frozen=True)
class Sentence:
    text: str
    holds: bool  # the score says something


def verdicts(means: Sequence[Row], labels: dict[str, str]) -> list[Sentence]:
    """One a score. `means`: of HEADLINE, all units of each member; `labels`: member → its name in the page."""
    by_metric = {metric: [row for row in means if row["metric"] == metric and row["verdict"]] for metric in HEADLINE}
    return [_verdict(metric, rows, labels) for metric, rows in by_metric.items() if rows]


def _verdict(metric: str, rows: Sequence[Row], labels: dict[str, str]) -> Sentence:
    better = [row for row in rows if row["verdict"] == "better"]
    claim, n = _CLAIMS[metric], len(rows)
    if not better:
        hardest = min(rows, key=lambda row: -row["delta"])
        return Sentence(
            f"{claim}: not better than control in any of {n} dictionaries (at best Δ {_interval(hardest)}, "
            f"{_name(hardest['control'])}), so this score says nothing about them.",
            holds=False,
        )
    reach = (
        f"Δ {_written(metric, min(row['delta'] for row in better))} to "
        f"{_written(metric, max(row['delta'] for row in better))}"
        if len(better) > 1
        else f"Δ {_interval(better[0])}"
    )
    controls = " or ".join(dict.fromkeys(_name(row["control"]) for row in better))
    said = f"{claim}: better than their hardest control ({controls}) in {len(better)} of {n} dictionaries, {reach}"
    if others := [row for row in rows if row["verdict"] != "better"]:
        named = "; ".join(f"{labels[row['member']]} ({row['verdict']})" for row in others[:NAMED])
        said += f". Not better than control in {named}" + (
            f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        )
    return Sentence(f"{said}.", holds=True)


def lints(members: Sequence[Row], means: Sequence[Row], labels: dict[str, str]) -> list[str]:
    """Reasons for care, each only where it applies."""
    return [*_about_means(means, labels), *_about_members(members, labels), *_about_seeds(means)]


def _about_means(means: Sequence[Row], labels: dict[str, str]) -> Iterator[str]:
    for row in means:
        known = row["n"] + row["undefined"]
        if known and row["undefined"] > MANY_UNDEFINED * known:
            yield (
                f"{HEADLINE[row['metric']]} of {labels[row['member']]} is undefined for {row['undefined']:,} of "
                f"{known:,} living features; their mean is of the others."
            )


def _about_members(members: Sequence[Row], labels: dict[str, str]) -> Iterator[str]:
    dense = [row for row in members if row["dense_units"] > MANY_DENSE * max(row["alive_units"], 1)]
    if dense:
        yield (
            f"More than a quarter of the features fire on over 10 % of tokens in {_listed(dense, labels)}: "
            "their means are not those of sparse features; compare at equal density."
        )
    dead = [row for row in members if row["dead_units"] > MANY_DEAD * row["units"]]
    if dead:
        yield f"More than a tenth of the features never fired in {_listed(dead, labels)}; no mean counts them."


def _about_seeds(means: Sequence[Row]) -> Iterator[str]:
    few = {row["seeds"] for row in means if row["few_seeds"]}
    if few:
        seeds = "One seed" if max(few) == 1 else f"At most {max(few)} seeds"
        yield f"Exploratory: {seeds} a configuration, so no interval holds what another seed would give; five would."


def _listed(rows: Sequence[Row], labels: dict[str, str]) -> str:
    named = ", ".join(labels[row["member"]] for row in rows[:NAMED])
    return named + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def _interval(row: Row) -> str:
    low, middle, high = (_written(row["metric"], row[name]) for name in ("delta_low", "delta", "delta_high"))
    return f"{middle} [{low}, {high}]"


def _written(metric: str, value: float) -> str:
    return f"{value:.{DIGITS.get(metric, 2)}f}"


def _name(control: str) -> str:
    return control.replace("_", " ")
