"""What is fitted in the first pass is measured in a second, on codes that the first one saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actpipe.progress import Progress

from .corpus import Corpus
from .gathering import Gathering
from .passes import Checking, Gatherer, Source, run
from .scores import Score
from .threads import one_thread_each


def second_pass(
    firsts: Sequence[Gathering],
    sources: Sequence[Source],
    *,
    scores: Sequence[Score],
    corpus: Corpus,
    folder: Path,
    of_all: str = "",
    gather: Gatherer | None,
    progress: Progress,
) -> list[Gathering]:
    """In the order of `firsts`, which the `gatherings` of `sources` number. `of_all`: ends the titles."""
    empty = []
    with (
        progress.bar("Fitting explanations" + of_all, len(firsts), "sets of units") as bar,
        one_thread_each(len(firsts)) as pool,
    ):
        for second in pool.map(lambda first: Gathering.second(first, scores), firsts):
            empty.append(second)
            bar.advance(1)
    if not any(each.accumulators for each in empty):
        return empty
    checking = Checking(name="checked", corpus=corpus, empty=empty, sources=sources)
    return run(checking, folder, progress, "Measuring explanations" + of_all, gather)
