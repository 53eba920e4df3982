"""Progress on stderr: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Drawn
from rich.table import Column
from rich.text import Text

from actpipe.progress import Bar, Progress, silent
from actpipe.quantities import readable_count, readable_seconds

SHOW_AFTER_S = 1.0  # a part that is over sooner needs no bar


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
            with silent.bar(title, total, unit, done) as bar:
                yield bar
            return
        drawn = Drawn(*_columns(), console=self._console, refresh_per_second=4)
        task = drawn.add_task(title, total=total, completed=int(done), note="", unit=unit, before=done)
        try:
            yield DrawnBar(drawn, drawn.tasks[task])
        finally:
            drawn.stop()


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
    def __init__(self, drawn: Drawn, task: Task) -> None:
        self._drawn, self._task = drawn, task
        self._began = time.monotonic()

    def advance(self, amount: float, note: str = "") -> None:
        self._drawn.update(self._task.id, advance=amount, note=note or self._task.fields["note"])
        if time.monotonic() - self._began > SHOW_AFTER_S:
            self._drawn.start()  # no more than once has an effect


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
