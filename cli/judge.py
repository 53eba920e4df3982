"""`actpipe judge`."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actpipe.analysis.judges.config import JudgeConfig
from actpipe.places import REPORT

from .options import options_of, shared

if TYPE_CHECKING:
    from actpipe.analysis.judges import JudgeResult
    from actpipe.analysis.judges.means import Mean

EXAMPLES = """
\b
Examples:
  actpipe judge
  actpipe judge --backend openai --base-url http://127.0.0.1:8000/v1 --model qwen --dry-run
  actpipe judge notes-report --backend hf --model smollm2 --protocols surprisal --units 20
  actpipe judge --backend human
"""


@click.command("judge", epilog=EXAMPLES)
@click.argument("report", type=click.Path(path_type=Path), default=REPORT)
@options_of(JudgeConfig, without=("report",))
@shared
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Have the explanations in REPORT (default ./actpipe-out/report) judged, after an exam of the judge.

    Judges are the executable rules (the default, free), a language model behind an endpoint or on this machine, a
    sentence encoder, or people. A number by a judge that did not pass its exam is printed as uncertified.
    """
    from actpipe.analysis.judges import judge

    from .progress import progress_for

    config = JudgeConfig(**options)
    result = judge(config, progress_for(quiet=quiet))
    if as_json:
        click.echo(json.dumps(_described(config, result)))
        return
    for line in _lines(config, result):
        click.echo(line)


def _described(config: JudgeConfig, result: JudgeResult) -> dict[str, Any]:
    from actpipe.analysis.judges.means import finite

    return {
        "report": str(config.report),
        "judge": result.judge,
        "verdict": result.verdict,
        "certified": bool(result.grade and result.grade.certified),
        "judged": result.judged,
        "left_out": result.left_out,
        "usd": result.usd,
        "spent": None if result.spent is None else dataclasses.asdict(result.spent),
        "stopped": result.stopped,
        "form": None if result.form is None else str(result.form),
        "means": [finite(dataclasses.asdict(mean)) for mean in result.means],
    }


def _lines(config: JudgeConfig, result: JudgeResult) -> list[str]:
    if result.form is not None:
        return [f"{result.form}: fill it in, save the answers, and give them with --answers."]
    if config.dry_run:  # no exam was taken
        return [f"{_units(result.judged)} would be judged" + _cost(config, result)]
    lines = [f"{result.verdict}.", f"{_units(result.judged)} judged" + _cost(config, result)]
    if result.stopped:
        lines.append(f"Stopped early: {result.stopped}")
    return lines + [_mean(each) for each in result.means]


def _cost(config: JudgeConfig, result: JudgeResult) -> str:
    if result.spent is None:
        return "."
    would = "would take" if config.dry_run else "took"
    spent = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in dataclasses.asdict(result.spent).items())
    return f"; it {would} {spent}" + (f", {result.usd:.2f} dollars." if result.usd else ".")


def _mean(each: Mean) -> str:
    line = f"  {each.member}  {each.protocol} {each.metric} "
    line += f"{_number(each.mean, each.low, each.high)} over {_units(each.n)}"
    line += ", which has no interval" if each.n == 1 else ""
    line += f", {each.undefined} undefined" if each.undefined else ""
    if not math.isnan(each.delta):
        delta = _number(each.delta, each.delta_low, each.delta_high)
        line += f"; others' explanations {each.control:.3f}, Δ {delta}"
    return line


def _number(value: float, low: float, high: float) -> str:
    """With its interval, where it has one."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3f}" if math.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _units(n: int) -> str:
    return "1 unit" if n == 1 else f"{n:,} units"
