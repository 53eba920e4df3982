"""model + texts → tables → page: the stage behind `actpipe analyze --model`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe.errors import Misuse
from actpipe.files import write_json
from actpipe.progress import Progress, silent

from .config import FORMAT, TRAINED, UNTRAINED, SparsityConfig

if TYPE_CHECKING:
    from .parts import Parts
    from .subjects import Firing
    from .tables import Measured, Row
    from .texts import Task, Text

SUMMARY, PAGE = "sparsity.json", "index.html"
TABLES = ("layers", "units", "positions")


def measure_sparsity(config: SparsityConfig, progress: Progress = silent) -> dict[str, Any]:
    """Write the report on a model's sparsity to `config.out`, unless the one there has the same inputs.

    Returns {"out": path, "hooks": number measured, "summary": what sparsity.json holds}.
    """
    from actpipe.analysis.folder import replaced_folder

    from .parts import open_parts  # torch, transformers and pyarrow take seconds to import

    _refuse_foreign(config.out)
    parts = open_parts(config, progress)
    existing = summary_of(config.out)
    if existing and not config.overwrite and is_whole(config.out, existing):
        if existing.get("inputs") == parts.digest:
            progress.say(
                f"{config.out} is up to date: the model, the texts and the options are those it was made from."
            )
            return _result(config.out, existing)
        progress.say(f"{config.out} was made from other inputs and is made anew.")
    with replaced_folder(config.out) as folder:
        summary = _write(folder, config, parts, progress)
    return _result(config.out, summary)


def summary_of(out: Path) -> dict[str, Any] | None:
    """Of the whole report at `out`; None where there is none."""
    try:
        summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return summary if isinstance(summary, dict) and summary.get("format") == FORMAT else None


def is_whole(out: Path, summary: dict[str, Any]) -> bool:
    tables = (*TABLES, *(["kt"] if summary.get("kt") else []))
    return (out / PAGE).exists() and all((out / f"{name}.parquet").exists() for name in tables)


def _refuse_foreign(out: Path) -> None:
    """Never replace what is not a report of this kind."""
    if out.exists() and not (out.is_dir() and (summary_of(out) is not None or not any(out.iterdir()))):
        raise Misuse(f"{out} exists and is no report on sparsity, so it is left alone. Give --out another place.")


def _result(out: Path, summary: dict[str, Any]) -> dict[str, Any]:
    return {"out": str(out), "hooks": len(summary["hooks"]), "summary": summary}


def _write(folder: Path, config: SparsityConfig, parts: Parts, progress: Progress) -> dict[str, Any]:
    from .page import write_page
    from .summary import summarize

    with ExitStack() as opened:
        texts = [opened.enter_context(_packed(task, config, parts, progress)) for task in parts.tasks]
        measured, kt_rows = _measure_arms(folder, texts, config, parts, progress)
        summary = summarize(config, parts, texts, measured, kt_rows)
    _write_tables(folder, measured, config)
    write_json(folder / SUMMARY, summary)
    with progress.bar("Writing the page", None, "files"):
        write_page(folder)
    return summary


@contextmanager
def _packed(task: Task, config: SparsityConfig, parts: Parts, progress: Progress) -> Iterator[Text]:
    from .texts import packed

    with packed(task, parts.model, parts.policy, config, progress) as text:
        if text.spool.sequences < config.sequences:
            there = text.spool.sequences * config.context
            progress.say(f"The dataset {task.name} ends after {there:,} of {config.tokens:,} tokens.")
        yield text


def _measure_arms(
    folder: Path, texts: list[Text], config: SparsityConfig, parts: Parts, progress: Progress
) -> tuple[list[Measured], list[Row]]:
    """The model, then its twin at initialisation, with the same texts, documents and rule of firing."""
    from actpipe.harvest.model import untrained

    from .arms import firing_of, measure_arm, write_kt

    reading = parts.reading(config)
    measured: list[Measured] = []
    firing: dict[str, Firing] | None = None
    with ExitStack() as opened:
        write = opened.enter_context(_table_writer(folder / "kt.parquet")) if parts.sentences else None
        rows = []
        for arm in (TRAINED, UNTRAINED) if config.untrained else (TRAINED,):
            model = parts.model if arm == TRAINED else untrained(parts.model, seed=config.seed)
            sums = measure_arm(arm, model, texts, reading, progress)
            firing = firing or firing_of(parts.subjects, sums)
            measured += sums.measured(arm, parts.subjects, firing)
            if parts.sentences is not None and write is not None:
                rows.append(
                    write_kt(
                        arm, model, parts.sentences, parts.policy, reading, firing, config.kt_rule, write, progress
                    )
                )
    return measured, rows


def _write_tables(folder: Path, measured: list[Measured], config: SparsityConfig) -> None:
    from .measures import measures
    from .tables import layer_row, position_rows, rows_table, units_table

    known = measures(config.eps)
    with _table_writer(folder / "layers.parquet") as write:
        write(rows_table([layer_row(each, known) for each in measured]))
    with _table_writer(folder / "positions.parquet") as write:
        write(rows_table([row for each in measured for row in position_rows(each, known)]))
    with _table_writer(folder / "units.parquet") as write:
        for each in measured:
            write(units_table(each))


@contextmanager
def _table_writer(path: Path) -> Iterator[Any]:
    """Yield `write(table)`: one row group a call, the columns those of the first."""
    import pyarrow.parquet as pq

    with ExitStack() as opened:
        writers: list[Any] = []

        def write(table: Any) -> None:
            if not writers:
                writers.append(opened.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd")))
            writers[0].write_table(table)

        yield write
