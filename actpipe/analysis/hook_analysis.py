"""All sets of units of one hook: passes over its rows, then one set of tables a member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from actpipe.harvest.model import LanguageModel, resolve_device
from actpipe.memory import give_back
from actpipe.progress import Progress

from .analysed import OWN, Analysed, analysed
from .controls import Control, RandomUnits, UntrainedUnits
from .corpus import Corpus
from .gathering import Gathering
from .histogram import edges
from .inputs import Inputs, Member
from .member_pass import CONTROL_UNITS, RANDOM, SHUFFLED, ControlPass, MemberPass
from .model_controls import RANDOM_NEURONS, UNTRAINED, ModelControls, Untrained
from .passes import Encoding, Gatherer, Source, run
from .scores import Score
from .second_pass import second_pass
from .threads import one_thread_each
from .unit_sets import UnitSets
from .units import UnitSet

P = TypeVar("P", MemberPass, ControlPass)
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
        model_controls: ModelControls,
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
        self.edges: NDArray[np.float64] = edges(float(np.sqrt(inputs.store.statistics(hook).mean_square)))
        self.controls = self._controls(model_controls)

    def _controls(self, of_model: ModelControls) -> list[Control]:
        controls: list[Control] = [self._random(RANDOM, "Reading for the controls", self.corpus, self.hook)]
        if before := of_model.before.get(self.hook):
            corpus = self.corpus.reading(before.store)
            controls.append(self._random(RANDOM_NEURONS, "Reading random neurons", corpus, before.hook))
        if untrained := of_model.untrained:
            controls.append(self._untrained(untrained))
        return controls

    def _random(self, name: str, title: str, corpus: Corpus, hook: str) -> Control:
        return RandomUnits(name=name, title=title, corpus=corpus, hook=hook, seed=self.seed, device=self.device)

    def _untrained(self, found: Untrained) -> Control:
        sets = UnitSets(
            found.store,
            self.hook,
            self.corpus,
            units=min(self.sets.units or CONTROL_UNITS, CONTROL_UNITS),
            seed=self.seed,
            device=self.device,
            language_model=found.model,
            progress=self.progress,
        )
        members = [replace(member, path=found.dictionaries.get(member.name)) for member in self.members]
        return UntrainedUnits(
            name=UNTRAINED,
            title="Reading the untrained model",
            corpus=self.corpus.reading(found.store),
            hook=self.hook,
            sets=sets,
            members=members,
        )

    def run(self) -> Iterator[Analysed]:
        units = self.sets.of(self.members)
        groups = together([each.n for each in units])
        for number, group in enumerate(groups):
            of_all = f" ({number + 1} of {len(groups)})" if len(groups) > 1 else ""
            here = Group(self.folder / f"group-{number:03d}", of_all, group.start)
            yield from self._group(self.members[group], units[group], here)

    def _group(self, members: Sequence[Member], units: Sequence[UnitSet], here: Group) -> Iterator[Analysed]:
        empty = [MemberPass(each, self.corpus, self.edges, self.seed, self.scores) for each in units]
        passes = self._encoded("members", empty, "Reading the store", here, self.corpus, self.hook)
        controls = self._controlled(passes, here)
        seconds = self._checked(passes, controls, here)
        n = len(passes)
        apart = [{name: found[i] for name, found in controls.items()} for i in range(n)]
        finish = partial(analysed, scores=self.scores, model=self.model)
        with self.progress.bar("Writing tables" + here.of_all, n, "dictionaries") as bar, one_thread_each(n) as pool:
            found = pool.map(finish, members, passes, apart, seconds)
            del (
                empty,
                passes,
                controls,
                seconds,
                apart,
            )  # what is of one member goes when its tables are made
            for each in found:
                yield each
                give_back()
                bar.advance(1)

    def _controlled(self, passes: Sequence[MemberPass], here: Group) -> dict[str, list[ControlPass]]:
        """By the name of the control, a pass a member."""
        found = {}
        for control in self.controls:
            units = control.units(passes, here.first)
            empty = [ControlPass(each, self.corpus, self.seed, self.scores, control=control.name) for each in units]
            found[control.name] = self._encoded(control.name, empty, control.title, here, control.corpus, control.hook)
        return found

    def _encoded(self, name: str, empty: Sequence[P], title: str, here: Group, corpus: Corpus, hook: str) -> list[P]:
        encoding: Encoding[P] = Encoding(
            name=name,
            corpus=corpus,
            empty=empty,
            hook=hook,
            device=self.device,
            folder=here.folder / name if self.scores else None,
        )
        return run(encoding, here.folder, self.progress, title + here.of_all, self.gather)

    def _checked(
        self, passes: Sequence[MemberPass], controls: Mapping[str, Sequence[ControlPass]], here: Group
    ) -> list[dict[str, Gathering]]:
        """For each member what a second pass gathers: of its own units (`OWN`), of shuffled ones, of each control."""
        firsts: list[Gathering] = []
        sources: list[Source] = []
        for index, found in enumerate(passes):
            sources.append(
                Source(
                    folder=here.folder / "members",
                    number=index,
                    n_units=found.units.n,
                    gatherings=(len(firsts), len(firsts) + 1),
                    shuffled=found.shuffled_units,
                    seed=self.seed,
                )
            )
            firsts += [found.scores, found.shuffled_scores]
            for name, each in controls.items():
                n = each[index].units.n
                sources.append(Source(folder=here.folder / name, number=index, n_units=n, gatherings=(len(firsts),)))
                firsts.append(each[index].scores)
        names = [OWN, SHUFFLED, *controls]
        seconds = second_pass(
            firsts,
            sources,
            scores=self.scores,
            corpus=self.corpus,
            folder=here.folder,
            of_all=here.of_all,
            gather=self.gather,
            progress=self.progress,
        )
        return [
            dict(zip(names, seconds[start : start + len(names)], strict=True))
            for start in range(0, len(seconds), len(names))
        ]
