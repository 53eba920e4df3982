"""One arm, the model or its twin at initialisation: every text in one pass, then all of them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from actpipe.corpora.packing import PackingPolicy
from actpipe.harvest.model import LanguageModel
from actpipe.progress import Progress

from .accumulators import HookSums
from .config import ALL, TRAINED, KtRule
from .measuring import Reading, measure_text
from .sentences import Sentences, activity
from .subjects import Firing, Subject
from .tables import Measured, Row, kt_tables
from .texts import Text

SIGNIFICANT = 0.05  # of q


@dataclass(frozen=True)
class ArmSums:
    """By task, {hook: sums}; `all` is there where tasks are several, and is read for the whole."""

    by_task: dict[str, dict[str, HookSums]]
    documents: dict[str, int]

    @property
    def overall(self) -> str:
        return ALL if ALL in self.by_task else next(iter(self.by_task))

    def measured(self, arm: str, subjects: tuple[Subject, ...], firing: dict[str, Firing]) -> list[Measured]:
        """Ordered by task, `all` first, then by hook."""
        return [
            Measured(arm, task, subject, firing[subject.hook], self.documents[task], self.by_task[task][subject.hook])
            for task in sorted(self.by_task, key=lambda name: name != self.overall)
            for subject in subjects
        ]


def measure_arm(arm: str, model: LanguageModel, texts: list[Text], reading: Reading, progress: Progress) -> ArmSums:
    by_task: dict[str, dict[str, HookSums]] = {}
    title = "Measuring the model" if arm == TRAINED else "Measuring its initialisation"
    with progress.bar(title, sum(text.spool.tokens.size for text in texts), "tokens") as bar:
        for text in texts:
            by_task[text.task] = measure_text(model, text, reading, bar.advance)
    documents = {text.task: text.documents for text in texts}
    if len(texts) > 1:
        by_task[ALL] = _merged(list(by_task.values()))
        documents[ALL] = sum(documents.values())
    return ArmSums(by_task, documents)


def firing_of(subjects: tuple[Subject, ...], sums: ArmSums) -> dict[str, Firing]:
    """{hook: how its units fire}, settled on the trained model and used for its twin too."""
    whole = sums.by_task[sums.overall]
    return {subject.hook: subject.firing(float(whole[subject.hook].mean()[0])) for subject in subjects}


def write_kt(
    arm: str,
    model: LanguageModel,
    sentences: Sentences,
    policy: PackingPolicy,
    reading: Reading,
    firing: dict[str, Firing],
    rule: KtRule,
    write: Callable[[Any], None],
    progress: Progress,
) -> Row:
    """The tables of the arm, and a row that sums them up."""
    with progress.bar(f"Reading sentences ({arm})", None, "tokens") as bar:
        active, read = activity(model, sentences, policy, reading, firing, rule, bar.advance)
    n, of_topic = int(read.sum()), int((sentences.of_topic & read).sum())
    tables, scores = kt_tables(arm, active, sentences=n, of_topic=of_topic)
    for table in tables:
        write(table)
    q = np.concatenate([table["q"].to_numpy() for table in tables])
    return {
        "arm": arm,
        "sentences": n,
        "of_topic": of_topic,
        "base_rate": scores.base_rate,
        "tested": int(np.isfinite(scores.kt).sum()),
        "below_chance": int((scores.lift < 1).sum()),
        "significant": int((q < SIGNIFICANT).sum()),
    }


def _merged(parts: list[dict[str, HookSums]]) -> dict[str, HookSums]:
    whole: dict[str, HookSums] = {}
    for hook, first in parts[0].items():
        whole[hook] = HookSums(first.n_units, first.sums.shape[1], first.positions, first.eps)
        for part in parts:
            whole[hook].merge(part[hook])
    return whole
