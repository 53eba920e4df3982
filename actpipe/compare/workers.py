"""Subjects made by several processes of Dask, each by one of them: a model is read by one process, whole."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from actpipe.cluster import dask_client
from actpipe.errors import Failure
from actpipe.harvest.workers import threads_each
from actpipe.progress import Bar

from .config import CompareConfig
from .making import made, slug
from .subjects import Subject


def made_by_workers(
    subjects: Sequence[Subject], config: CompareConfig, folder: Path, workers: int, bar: Bar
) -> list[Path]:
    """Their folders under `folder`. `bar` advances by one for each."""
    from distributed import KilledWorker, as_completed

    tasks = _tasks(subjects)
    places: dict[int, Path] = {}
    with dask_client(scheduler=None, workers=min(workers, len(tasks)), threads=1) as client:
        threads, running = threads_each(min(workers, len(tasks))), {}
        for task in tasks:
            asked = [subjects[i] for i in task]
            key = f"made-{task[0]}-{secrets.token_hex(8)}"
            running[client.submit(_made, asked, config, folder, threads, key=key, pure=False)] = task
        for future in as_completed(running, loop=client.loop):
            task = running[future]
            try:
                places |= zip(task, future.result(), strict=True)
            except KilledWorker:
                raise Failure(
                    f"The process that made {subjects[task[0]].model} was killed, probably for memory: use fewer "
                    "--workers. What is made stays; the same command continues."
                ) from None
            bar.advance(len(task), slug(subjects[task[0]]))
    return [places[i] for i in range(len(subjects))]


def _tasks(subjects: Sequence[Subject]) -> list[list[int]]:
    """Numbers of subjects, those that take longest first; what could be one folder is made in turn."""
    by_folder: dict[str, list[int]] = {}
    for number, subject in enumerate(subjects):
        by_folder.setdefault(slug(subject), []).append(number)
    return sorted(by_folder.values(), key=lambda task: -max(len(subjects[i].members) for i in task))


def _made(subjects: Sequence[Subject], config: CompareConfig, folder: Path, threads: int) -> list[Path]:
    """Runs in a worker."""
    import torch

    from actpipe.progress import silent

    torch.set_num_threads(threads)
    return [made(subject, config, folder, silent) for subject in subjects]
