"""All sets of units of one hook: passes over its rows, then one set of tables a member."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.harvest.model import LanguageModel, resolve_device
from actpipe.memory import give_back
from actpipe.progress import Progress

from .analysed import Analysed, analysed
from .corpus import Corpus
from .gathering import Gathering
from .histogram import edges
from .inputs import Inputs, Member
from .member_pass import CONTROL_UNITS, MemberPass, RandomPass
from .passes import Checking, Encoding, Gatherer, Source, run
from .scores import Score
from .threads import one_thread_each
from .unit_sets import UnitSets
from .units import UnitSet
from .units.random_directions import RandomDirections

P = TypeVar("P", MemberPass, RandomPass)
UNITS_TOGETHER = 1 << 15  # in one reading of the rows: what is gathered takes some 200 kB a unit, 6 GiB


class Group(NamedTuple):
    """Members that are gathered in one reading of the rows."""

    folder: Path  # keeps what is gathered
    of_all: str  # which it is, for titles
    first: int  # number of its first member


def together(sizes: Sequence[int], most: int = UNITS_TOGETHER) -> list[slice]:
    """As few groups of about the same number of units as hold `most` each; a set that is larger stands alone."""
    total = sum(sizes)
    room = total / max(1, -(-total // most))
    groups: list[slice] = []
    first, held = 0, 0
    for i, size in enumerate(sizes):
        if i > first and (held + size > most or held >= room):
            groups.append(slice(first, i))
            first, held = i, 0
        held += size
    return [*groups, slice(first, len(sizes))] if sizes else []


class HookAnalysis:
    def __init__(
        self,
        inputs: Inputs,
        hook: str,
        corpus: Corpus,
        *,
        scores: Sequence[Score],
        units: int | None,
        seed: int,
        folder: Path,
        gather: Gatherer | None = None,
        language_model: LanguageModel | None = None,
        progress: Progress,
    ) -> None:
        """`folder` keeps what is gathered until the analysis is whole; `gather` does parts on other processes."""
        self.model, self.hook, self.corpus, self.scores = inputs.model, hook, corpus, scores
        self.seed, self.folder, self.gather, self.progress = seed, folder, gather, progress
        self.device = resolve_device(None)
        order = ("dictionary", "native", "baseline")
        here = [member for member in inputs.members if member.hook == hook]
        self.members = sorted(here, key=lambda member: order.index(member.kind))
        self.sets = UnitSets(
            inputs.store,
            hook,
            corpus,
            units=units,
            seed=seed,
            device=self.device,
            language_model=language_model,
            progress=progress,
        )
        statistics = inputs.store.statistics(hook)
        self.mean = torch.from_numpy(statistics.mean).float().to(self.device)
        self.edges: NDArray[np.float64] = edges(float(np.sqrt(statistics.mean_square)))

    def run(self) -> Iterator[Analysed]:
        units = self.sets.of(self.members)
        groups = together([each.n for each in units])
        for number, group in enumerate(groups):
            of_all = f" ({number + 1} of {len(groups)})" if len(groups) > 1 else ""
            here = Group(self.folder / f"group-{number:03d}", of_all, group.start)
            yield from self._group(self.members[group], units[group], here)

    def _group(self, members: Sequence[Member], units: Sequence[UnitSet], here: Group) -> Iterator[Analysed]:
        empty = [MemberPass(each, self.corpus, self.edges, self.seed, self.scores) for each in units]
        passes = self._encoded("members", empty, "Reading the store", here)
        controls = self._encoded("controls", self._controls(passes, here), "Reading for the controls", here)
        seconds = self._checked(passes, controls, here)
        n, threes = len(passes), [seconds[start : start + 3] for start in range(0, len(seconds), 3)]
        finish = partial(analysed, scores=self.scores, model=self.model)
        with self.progress.bar("Writing tables" + here.of_all, n, "dictionaries") as bar, one_thread_each(n) as pool:
            found = pool.map(finish, members, passes, controls, threes)
            del empty, passes, controls, seconds, threes  # what was gathered of a member goes when its tables are made
            for each in found:
                yield each
                give_back()
                bar.advance(1)

    def _controls(self, passes: Sequence[MemberPass], here: Group) -> list[RandomPass]:
        """Other directions for each member, so that members are independent draws of the control."""
        controls = []
        for index, found in enumerate(passes, here.first):
            density = found.activity.density
            units = RandomDirections.matching(
                density[density > 0],
                self.sets.sample,
                self.mean,
                n=CONTROL_UNITS,
                seed=self.seed + 1 + index,
                name=found.units.name,
                hook=self.hook,
            )
            controls.append(RandomPass(units, self.corpus, self.seed, self.scores))
        return controls

    def _encoded(self, name: str, empty: Sequence[P], title: str, here: Group) -> list[P]:
        encoding: Encoding[P] = Encoding(
            name=name,
            corpus=self.corpus,
            empty=empty,
            hook=self.hook,
            device=self.device,
            folder=here.folder / name if self.scores else None,
        )
        return run(encoding, here.folder, self.progress, title + here.of_all, self.gather)

    def _checked(self, passes: Sequence[MemberPass], controls: Sequence[RandomPass], here: Group) -> list[Gathering]:
        """For each member three gatherings of a second pass: of its units, of shuffled ones, of random directions."""
        firsts: list[Gathering] = []
        sources: list[Source] = []
        for index, (found, control) in enumerate(zip(passes, controls, strict=True)):
            firsts += [found.scores, found.shuffled_scores, control.scores]
            members = Source(
                folder=here.folder / "members",
                number=index,
                n_units=found.units.n,
                gatherings=(3 * index, 3 * index + 1),
                shuffled=found.shuffled_units,
                seed=self.seed,
            )
            random = Source(
                folder=here.folder / "controls", number=index, n_units=control.units.n, gatherings=(3 * index + 2,)
            )
            sources += [members, random]
        empty = []
        with (
            self.progress.bar("Fitting explanations" + here.of_all, len(passes), "dictionaries") as bar,
            one_thread_each(len(firsts)) as pool,
        ):
            for second in pool.map(lambda first: Gathering.second(first, self.scores), firsts):
                empty.append(second)
                bar.advance(1 / 3)
        if not any(each.accumulators for each in empty):
            return empty
        checking = Checking(name="checked", corpus=self.corpus, empty=empty, sources=sources)
        return run(checking, here.folder, self.progress, "Measuring explanations" + here.of_all, self.gather)
