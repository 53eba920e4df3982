"""Tasks a language model is trained on. One task a file; this list is what `--task` knows."""

from __future__ import annotations

from actpipe.errors import Missing

from .classification import Classification
from .language_modelling import LanguageModelling
from .span_corruption import SpanCorruption
from .task import IGNORED, PAD, Batch, Task
from .translation import Translation

__all__ = [
    "IGNORED",
    "PAD",
    "TASKS",
    "Batch",
    "Classification",
    "LanguageModelling",
    "SpanCorruption",
    "Task",
    "Translation",
    "get_task",
]

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (LanguageModelling, SpanCorruption, Translation, Classification)
}


def get_task(name: str) -> type[Task]:
    if name not in TASKS:
        raise Missing(f"There is no task {name!r}. Tasks: {', '.join(TASKS)}.")
    return TASKS[name]
