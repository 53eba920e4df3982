"""What the numbers say, in sentences, each only where it applies."""

from __future__ import annotations

from typing import Any

from .subjects import Subject

Row = dict[str, Any]
STACKS = {"blocks": "", "encoder_blocks": "the encoder’s ", "decoder_blocks": "the decoder’s "}
FEW_TOKENS = 5_000
# Li et al. 2022 (arXiv 2210.06313), percentage of nonzero entries behind the ReLU, averaged over 24 layers.
LAZY = "2.7 % of the ReLUs of T5-Base in Li et al. 2022"


def sentences(means: list[Row], subjects: tuple[Subject, ...], *, gated: bool, t5: bool) -> list[str]:
    """`means` are rows of `mean_over_hooks` with arm, task and stack; those of all tasks are read."""
    found = []
    by_stack: dict[str, dict[str, Row]] = {}
    for row in means:
        if row["overall"]:
            by_stack.setdefault(row["stack"], {})[row["arm"]] = row
    for stack, arms in by_stack.items():
        found += _of_stack(stack, arms)
    smooth = next((s.activation for s in subjects if s.activation and not s.activation.startswith("relu")), None)
    if gated and smooth is not None:
        which = "This T5 (v1.1 and its kin)" if t5 else "This model"
        found.append(
            f"{which} multiplies {smooth} by a linear gate, so its units are never 0 by design: it is not ReLU-sparse"
            + (f", and what is quoted for the original T5 ({LAZY}) does not apply to it." if t5 else ".")
        )
    elif smooth is not None:
        found.append(
            f"{smooth} is 0 nowhere by design (far out it rounds to 0), so the nonzero share says nothing here; L0_eff "
            "and the shares above a threshold do."
        )
    return found


def notes(tasks: list[Row], means: list[Row], *, untrained: bool) -> list[str]:
    found = []
    tokens = sum(task["tokens"] for task in tasks)
    dead = sum(row["never_active"] for row in means if row["overall"] and row["arm"] == "trained")
    if dead:
        found.append(
            f"A unit that never fired in {tokens:,} tokens fires on fewer than {3 / tokens:.1e} of them, with 95 % "
            "confidence."
        )
    if tokens < FEW_TOKENS:
        found.append(f"{tokens:,} tokens are few: rates below {1 / tokens:.1e} cannot be seen. Give more --tokens.")
    if any(task["documents"] < 8 for task in tasks):
        few = ", ".join(f"{task['name']} has {task['documents']}" for task in tasks if task["documents"] < 8)
        found.append(f"Intervals need 8 documents; {few}.")
    if not untrained:
        found.append("The initialisation was left out (--no-untrained), so there is nothing to compare with.")
    return found


def _of_stack(stack: str, arms: dict[str, Row]) -> list[str]:
    trained, start = arms["trained"], arms.get("untrained")
    where = _where(stack, trained["hooks"])
    key, what = ("nonzero", "of the units are not 0 at a token")
    if trained["firing"] != "nonzero":
        key, what = ("l0_eff_95", "of the units hold 95 % of a token’s contributions")
    lines = [f"Over {where}, {_percent(trained, key)} {what}."]
    if start is not None:
        lines[0] = f"{lines[0][:-1]}; at initialisation {_percent(start, key)}."
        if _overlap(trained, start, key):
            lines[0] = f"{lines[0][:-1]}: by this number training made it no sparser."
    lines.append(
        f"{trained['never_active']:,} of {trained['units']:,} units never fired, and "
        f"{_say(trained['below_10pct'])} fire on fewer than 10 % of the tokens."
    )
    return lines


def _where(stack: str, hooks: int) -> str:
    if stack not in STACKS:
        return f"the {hooks} layers of {stack}" if hooks > 1 else stack
    whose = STACKS[stack]
    return f"{whose}{hooks} layers" if hooks > 1 else f"{whose}layer" if whose else "the layer"


def _percent(row: Row, key: str) -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    value = _say(row[key]) if row[key] is not None else "none"
    return f"{value} ({_say(low)} to {_say(high)})" if low is not None else value


def _say(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.1f} %"


def _overlap(trained: Row, start: Row, key: str) -> bool:
    high, low = trained[f"{key}_high"], start[f"{key}_low"]
    return bool(trained[key] >= start[key]) if high is None or low is None else bool(high >= low)
