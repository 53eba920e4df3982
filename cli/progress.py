"""Progress on stderr: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Drawn
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
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            SpeedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Drawn(*columns, console=self._console, refresh_per_second=4) as drawn:
            task = drawn.add_task(
                title, total=total, completed=int(done), visible=False, note="", unit=unit, before=done
            )
            yield DrawnBar(drawn, drawn.tasks[task])


class DrawnBar:
    def __init__(self, drawn: Drawn, task: Task) -> None:
        self._drawn, self._task = drawn, task
        self._began = time.monotonic()

    def advance(self, amount: float, note: str = "") -> None:
        late = self._task.visible or time.monotonic() - self._began > SHOW_AFTER_S
        note = note or self._task.fields["note"]
        self._drawn.update(self._task.id, advance=amount, visible=late, note=note)


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
