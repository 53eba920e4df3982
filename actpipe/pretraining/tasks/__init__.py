"""Tasks a language model is trained on. One task a file; this list is what `--task` knows."""

from __future__ import annotations

from actpipe.errors import Missing

from .language_modelling import LanguageModelling
from .task import IGNORED, PAD, Batch, Task

__all__ = ["IGNORED", "PAD", "TASKS", "Batch", "LanguageModelling", "Task", "get_task"]

TASKS: dict[str, type[Task]] = {task.name: task for task in (LanguageModelling,)}


def get_task(name: str) -> type[Task]:
    if name not in TASKS:
        raise Missing(f"There is no task {name!r}. Tasks: {', '.join(TASKS)}.")
    return TASKS[name]
