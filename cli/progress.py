"""Progress on stderr: a bar with rate and time left on a terminal, and below it a table; plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Drawn
from rich.table import Column, Table
from rich.text import Text

from actpipe.progress import Bar, Progress, silent
from actpipe.quantities import readable_count, readable_seconds

SHOW_AFTER_S = 1.0  # a part that is over sooner needs no bar
LINE_EVERY_S = 60.0  # into a file or a pipe
OTHER_LINES = 4  # of the screen, which a table leaves free


def progress_for(*, quiet: bool) -> Progress:
    return silent if quiet else Terminal()


class Terminal:
    """Bars where stderr is a terminal; only what `say` says where it is a file or a pipe."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Bar]:
        if not self._console.is_terminal:
            yield WrittenBar(self._console, title, total, unit, done)
            return
        drawn = DrawnBar(self._console, title, total, unit, done)
        try:
            yield drawn
        finally:
            drawn.stop()


class WrittenBar:
    """A line now and then, for who looks into the log of a long run."""

    def __init__(self, console: Console, title: str, total: float | None, unit: str, done: float) -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._done = self._before = done
        self._began = self._last = time.monotonic()

    def advance(self, amount: float, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        rate = (self._done - self._before) / (now - self._began)
        share = f"{self._done / self._total:.0%}" if self._total else readable_count(self._done)
        speed = f"{readable_count(float(f'{rate:.2g}'))} {self._unit}/s"
        self._console.print(", ".join(filter(None, (f"{self._title}: {share}", speed, note))), markup=False)

    def show(self, table: Sequence[Sequence[str]]) -> None:
        pass


def _columns() -> tuple[ProgressColumn, ...]:
    def text(form: str, **column: Any) -> TextColumn:
        return TextColumn(form, markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", **column))

    return (
        text("{task.description}", ratio=1),
        BarColumn(bar_width=12),
        ShareColumn(table_column=Column(no_wrap=True)),
        SpeedColumn(table_column=Column(no_wrap=True)),
        text("{task.fields[note]}"),
    )


class DrawnBar:
    def __init__(self, console: Console, title: str, total: float | None, unit: str, done: float) -> None:
        self._console = console
        self._progress = Drawn(*_columns(), console=console, auto_refresh=False)
        self._progress.add_task(title, total=total, completed=int(done), note="", unit=unit, before=done)
        (self._task,) = self._progress.tasks
        self._table: Table | None = None
        self._live = Live(get_renderable=self._drawn, console=console, refresh_per_second=4)
        self._began = time.monotonic()

    def advance(self, amount: float, note: str = "") -> None:
        self._progress.update(self._task.id, advance=amount, note=note or self._task.fields["note"])
        if time.monotonic() - self._began > SHOW_AFTER_S:
            self._live.start()  # no more than once has an effect

    def show(self, table: Sequence[Sequence[str]]) -> None:
        self._table = table_below(table, self._console.height - OTHER_LINES)

    def stop(self) -> None:
        self._live.stop()

    def _drawn(self) -> RenderableType:
        return self._progress if self._table is None else Group(self._progress, self._table)


def table_below(rows: Sequence[Sequence[str]], most: int) -> Table:
    """The head and as many rows as fit, and how many are left out."""
    head, *body = rows
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for i, name in enumerate(head):
        table.add_column(Text(name), justify="right" if i else "left", no_wrap=True, overflow="ellipsis")
    fitting = body if len(body) <= most else body[: max(most - 1, 0)]
    for row in fitting:
        table.add_row(*map(Text, row))
    if len(fitting) < len(body):
        table.add_row(Text(f"… and {len(body) - len(fitting)} more", style="dim"))
    return table


class ShareColumn(ProgressColumn):
    """` 42 %`, where the end is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.percentage:>3.0f} %")


class SpeedColumn(ProgressColumn):
    """`9.3k tokens/s, 14 s left`, and how long it took at the end."""

    def render(self, task: Task) -> Text:
        elapsed = (task.finished_time if task.finished else task.elapsed) or 0.0
        made = task.completed - task.fields["before"]
        if elapsed <= 0 or made <= 0:
            return Text("")
        rate = made / elapsed
        if task.finished:
            end = f", took {readable_seconds(elapsed)}"
        elif task.total:
            end = f", {readable_seconds((task.total - task.completed) / rate)} left"
        else:
            end = ""
        return Text(f"{readable_count(float(f'{rate:.2g}'))} {task.fields['unit']}/s{end}")
