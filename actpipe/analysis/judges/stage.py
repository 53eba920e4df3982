"""Report → judgements: the stage behind `--judge`. Works on the tables of any finished report, without run or store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actpipe.errors import Misuse
from actpipe.progress import Progress, silent

from .backends import Opened, open_judge
from .config import JudgeConfig
from .exam import Grade, take_exam
from .explaining import Explaining
from .human_judge import HumanJudge
from .judging import Judgement, Judging
from .means import Mean, finite, means
from .order import Done, in_order
from .protocol import Protocol
from .protocols import PROTOCOLS
from .questions import Explain, Explanation
from .report_tables import ReportTables
from .windows import Unit

if TYPE_CHECKING:
    from .ledger import Spent

OWN, RULES = "own", "rules"
FORM = "judge-form.html"


@dataclass(frozen=True)
class JudgeResult:
    judge: str
    grade: Grade | None
    judged: int  # units
    left_out: int  # drawn units that were not reached
    means: list[Mean]
    spent: Spent | None  # None: the judge costs nothing
    usd: float
    stopped: str | None  # why it ended early
    form: Path | None = None  # for people to fill in

    @property
    def verdict(self) -> str:
        """Stands beside every number."""
        return self.grade.sentence if self.grade is not None else f"uncertified judge: {self.judge} took no exam"


def judge(config: JudgeConfig, progress: Progress = silent) -> JudgeResult:
    """Judges units of the report and writes what was found into it, whole units only; with `dry_run`, nothing."""
    protocols = _protocols(config.protocols)
    tables = ReportTables(config.report)
    members = _members(config, tables)
    asked = {protocol.asks for protocol in protocols}
    opened = open_judge(config, asked, progress)
    try:
        _check(opened, protocols)
        grade = _grade(config, opened, progress)
        judging, units = _prepared(config, opened, protocols, tables, members, progress)
        done = _run(judging, units, opened, progress)
        result = _result(config, opened, grade, done, len(units))
        if not config.dry_run:
            _write(config, opened, result, done.results)
        return result
    finally:
        opened.close()


def _protocols(names: Sequence[str]) -> list[Protocol]:
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise Misuse(f"The protocol {unknown[0]!r} is not known; there are {', '.join(PROTOCOLS)}.")
    return [PROTOCOLS[name] for name in dict.fromkeys(names)]


def _members(config: JudgeConfig, tables: ReportTables) -> list[str]:
    there = tables.members()
    unknown = [name for name in config.members if name not in there]
    if unknown:
        raise Misuse(f"The report has no member {unknown[0]!r}; it has {', '.join(there)}.")
    return list(config.members) or there


def _check(opened: Opened, protocols: Sequence[Protocol]) -> None:
    judge = opened.judge
    for protocol in protocols:
        if protocol.asks not in judge.answers:
            can = [name for name, p in PROTOCOLS.items() if p.asks in judge.answers]
            raise Misuse(f"{judge.name} cannot be asked for {protocol.name}; it can for {', '.join(can)}.")


def _grade(config: JudgeConfig, opened: Opened, progress: Progress) -> Grade | None:
    if not config.exam or isinstance(opened.judge, HumanJudge):  # nobody answers 4,800 questions
        return None
    progress.say(f"{opened.judge.name} takes the exam on {config.exam_units} planted units.")
    grade = take_exam(opened.judge, seed=config.seed, units=config.exam_units, threads=opened.threads)
    if not config.dry_run:
        progress.say(f"{grade.sentence}.")
    return grade


def _prepared(
    config: JudgeConfig,
    opened: Opened,
    protocols: Sequence[Protocol],
    tables: ReportTables,
    members: Sequence[str],
    progress: Progress,
) -> tuple[Judging, list[tuple[Unit, Unit | None]]]:
    explained = _explainer(config, opened, tables, members)
    drawn = [_drawn(config, tables, member, explained) for member in members]
    for member, units in zip(members, drawn, strict=True):
        if len(units) < config.units:
            progress.say(
                f"{member}: {len(units)} units have windows enough and an explanation; {config.units} asked for."
            )
    # In turn, so that a stop leaves every member equally far.
    turns = chain.from_iterable(zip_longest(*(_with_controls(units, config.shuffled) for units in drawn)))
    judging = Judging(opened.judge, protocols, explained, config.seed)
    return judging, [pair for pair in turns if pair is not None]


def _explainer(
    config: JudgeConfig, opened: Opened, tables: ReportTables, members: Sequence[str]
) -> Callable[[Unit], Explanation | None]:
    writes = Explain in opened.judge.answers
    source = config.explanations or (OWN if writes else RULES)
    if source == OWN:
        if not writes:
            raise Misuse(f"{opened.judge.name} writes no explanations; name a source of the report, such as {RULES}.")
        explaining = Explaining()
        return lambda unit: explaining.explain(opened.judge, unit)
    known = {member: tables.explanations(source, member) for member in members}
    if not any(known.values()):
        raise Misuse(f"The report has no explanations by {source!r}; `own` are those of a language model.")
    return lambda unit: known[unit.member].get((unit.feature, unit.sign))


def _drawn(
    config: JudgeConfig, tables: ReportTables, member: str, explained: Callable[[Unit], Explanation | None]
) -> list[Unit]:
    """In an order of chance. Where explanations are given, units without one cannot be judged."""
    keys = tables.units(member)
    order = np.random.default_rng(config.seed).permutation(len(keys))
    needs = config.explanations not in (None, OWN) or config.backend in ("rules", "encoder", "human")
    found: list[Unit] = []
    for start in range(0, len(keys), config.units):
        chosen = [keys[i] for i in order[start : start + config.units]]
        units = tables.read(member, chosen, seed=config.seed)
        found += [unit for unit in units if not needs or explained(unit) is not None]
        if len(found) >= config.units:
            break
    return found[: config.units]


def _with_controls(units: Sequence[Unit], shuffled: bool) -> Iterator[tuple[Unit, Unit | None]]:
    """Each with the next one, the last with the first: the order is one of chance."""
    for i, unit in enumerate(units):
        yield unit, units[(i + 1) % len(units)] if shuffled and len(units) > 1 else None


def _run(
    judging: Judging, units: Sequence[tuple[Unit, Unit | None]], opened: Opened, progress: Progress
) -> Done[Judgement]:
    with progress.bar(f"Judging with {opened.judge.name}", len(units), "units") as bar:
        return in_order(
            judging.of,
            units,
            threads=opened.threads,
            finished=lambda judgement: bar.advance(1),
            interrupted=opened.stop,
        )


def _result(
    config: JudgeConfig, opened: Opened, grade: Grade | None, done: Done[Judgement], wanted: int
) -> JudgeResult:
    ledger = opened.calls.ledger if opened.calls is not None else None
    return JudgeResult(
        judge=opened.judge.name,
        grade=None if config.dry_run else grade,
        judged=len(done.results),
        left_out=wanted - len(done.results),
        means=[] if config.dry_run else means(done.results, seed=config.seed),
        spent=ledger.spent if ledger is not None else None,
        usd=ledger.usd if ledger is not None else 0.0,
        stopped=None if done.stopped is None else str(done.stopped),
        form=_form_path(config, opened),
    )


def _form_path(config: JudgeConfig, opened: Opened) -> Path | None:
    waiting = isinstance(opened.judge, HumanJudge) and bool(opened.judge.missing)
    return config.report / FORM if waiting and not config.dry_run else None


def _write(config: JudgeConfig, opened: Opened, result: JudgeResult, found: list[Judgement]) -> None:
    from .human_page import write_form
    from .judgement_table import explanations_table, judgements_table, put_explanations, put_judge, put_judgements

    if result.form is not None and isinstance(opened.judge, HumanJudge):
        write_form(result.form, opened.judge.missing)
        if config.answers is None:
            return
    if Explain in opened.judge.answers:  # another judge reads explanations of others, which stay as they are
        put_explanations(config.report, explanations_table(found, result.judge))
    put_judgements(config.report, judgements_table(found, result.judge, result.grade))
    put_judge(config.report, result.judge, _entry(config, result))


def _entry(config: JudgeConfig, result: JudgeResult) -> dict[str, Any]:
    """Of judges.json. The configuration holds the name of the key's variable, never the key."""
    return {
        "verdict": result.verdict,
        "certified": result.grade is not None and result.grade.certified,
        "grade": None if result.grade is None else finite(asdict(result.grade)),
        "units": result.judged,
        "units_not_reached": result.left_out,
        "stopped": result.stopped,
        "spent": None if result.spent is None else asdict(result.spent) | {"usd": result.usd},
        "means": [finite(asdict(mean)) for mean in result.means],
        "config": {name: _plain(value) for name, value in asdict(config).items()},
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
