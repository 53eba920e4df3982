"""All sets of units of one hook: passes over its rows, then one set of tables a member."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

import sae
from actpipe.errors import ActpipeError, Damaged
from actpipe.harvest.model import LanguageModel, resolve_device
from actpipe.progress import Progress

from .activity import Activity
from .corpus import Corpus
from .directions import Logits, logits, neighbours
from .gathering import Gathering, scored
from .histogram import edges
from .inputs import Inputs, Member
from .member_pass import CONTROL_UNITS, MemberPass, RandomPass, drawn
from .memory import give_back
from .passes import Checking, Encoding, Gatherer, Source, run
from .scores import Score, Scored
from .splits import PROFILE
from .stability import Side
from .stability.code_sample import CodeSample
from .tables import controls_table, examples_table, histograms_table, units_table
from .threads import one_thread_each
from .token_sketch import TokenSketch
from .units import UnitSet
from .units.baselines import fit_baseline
from .units.chosen import ChosenUnits
from .units.dictionary import DictionaryUnits, gives_negative_codes
from .units.native import NativeUnits, written_by
from .units.random_directions import RandomDirections, sample_rows

P = TypeVar("P", MemberPass, RandomPass)


@dataclass(frozen=True)
class Found:
    """What every score says of one set of units, by the name of the score."""

    units: UnitSet
    scored: dict[str, Scored]
    density: NDArray[np.float64]
    mass: NDArray[np.float64]  # Σ a·‖w‖ over rows

    @classmethod
    def of(cls, units: UnitSet, scored: dict[str, Scored], activity: Activity) -> Found:
        norms = torch.linalg.vector_norm(units.directions, dim=1).double().cpu().numpy()
        return cls(units, scored, activity.density, activity.power_sums[0] * norms)

    def some(self, index: NDArray[np.int64], units: UnitSet, scored: dict[str, Scored]) -> Found:
        return Found(units, scored, self.density[index], self.mass[index])


@dataclass(frozen=True, kw_only=True)
class Analysed:
    member: Member
    width: int
    tables: dict[str, pa.Table]  # units, examples, histograms, controls
    configuration: str  # members of one configuration differ in their seed alone
    shuffled_units: NDArray[np.int64]  # of the control shuffled, in order
    side: Side  # for the comparison with other seeds
    found: Found
    controls: dict[str, Found]  # by the name of the control
    not_finite: int
    tokens_sketched: bool  # token scores know the heaviest tokens of each unit alone
    logits_missing: str | None  # why there are none


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
        self.store, self.model, self.hook, self.corpus = inputs.store, inputs.model, hook, corpus
        order = ("dictionary", "native", "baseline")
        here = [member for member in inputs.members if member.hook == hook]
        self.members = sorted(here, key=lambda member: order.index(member.kind))
        self.units, self.seed, self.progress = units, seed, progress
        self.scores, self.folder, self.gather = scores, folder, gather
        self.device = resolve_device(None)
        statistics = self.store.statistics(hook)
        self.mean = torch.from_numpy(statistics.mean).float().to(self.device)
        self.edges: NDArray[np.float64] = edges(float(np.sqrt(statistics.mean_square)))
        self.sample = sample_rows(self.store, hook, corpus).to(self.device)
        self.language_model = language_model

    def run(self) -> Iterator[Analysed]:
        units = self._all_units()
        empty = [MemberPass(each, self.corpus, self.edges, self.seed, self.scores) for each in units]
        passes = self._encoded("members", empty, "Reading the store")
        controls = self._encoded("controls", self._controls(passes), "Reading for the controls")
        seconds = self._checked(passes, controls)
        n, threes = len(passes), [seconds[start : start + 3] for start in range(0, len(seconds), 3)]
        with self.progress.bar("Writing tables", n, "dictionaries") as bar, one_thread_each(n) as pool:
            analysed = pool.map(self._analysed, self.members, passes, controls, threes)
            del empty, passes, controls, seconds, threes  # what was gathered of a member goes when its tables are made
            for each in analysed:
                yield each
                give_back()
                bar.advance(1)

    def _all_units(self) -> list[UnitSet]:
        """Of every member; baselines last, which are made as sparse as the dictionaries."""
        dictionaries = [self._dictionary(member) for member in self.members if member.kind == "dictionary"]
        natives = [self._native(member) for member in self.members if member.kind == "native"]
        names = [member for member in self.members if member.kind == "baseline"]
        return [*dictionaries, *natives, *self._baselines(names, dictionaries or natives)]

    def _native(self, member: Member) -> UnitSet:
        written = written_by(self.language_model, self.store, self.hook)
        units = NativeUnits(
            name=member.name,
            kind=written.kind,
            hook=self.hook,
            writes=written.writes,
            written=written.directions.to(self.device),
            signed=bool((self.sample < 0).any()),
            path=written.path,
        )
        return self._few(units)

    def _baselines(self, members: Sequence[Member], beside: Sequence[UnitSet]) -> list[UnitSet]:
        if not members:
            return []
        with torch.inference_mode():
            fired = [float((units.codes(self.sample) > 0).float().sum(dim=1).mean()) for units in beside]
        k, width = max(1, round(float(np.median(fired)))), int(np.median([len(units.source) for units in beside]))
        found = []
        for member in members:
            self.progress.say(f"Fitting {member.name} to {len(self.profile):,} rows.")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                kind, size = member.result["architecture"], {"k": k, "width": width}
                fitted = fit_baseline(kind, self.profile, name=member.name, hook=self.hook, seed=self.seed, **size)
            for text in dict.fromkeys(str(one.message).rstrip(".") for one in caught):
                self.progress.say(f"{member.name}: {text}.")
            found.append(fitted)
        return [self._few(units) for units in found]

    def _few(self, units: UnitSet) -> UnitSet:
        if self.units is None or units.n <= self.units:
            return units
        return ChosenUnits(of=units, index=drawn(units.n, self.units, self.seed))

    def _dictionary(self, member: Member) -> UnitSet:
        assert member.path is not None
        dictionary = _load(member.path, self.device)
        return DictionaryUnits(
            name=member.name,
            hook=member.hook,
            writes=member.writes,
            dictionary=dictionary,
            chosen=drawn(dictionary.n, self.units or dictionary.n, self.seed),
            signed=gives_negative_codes(dictionary, self.sample[:4096]),
        )

    @cached_property
    def profile(self) -> Tensor:
        """[N, d]: of the rows of the sample those of the profile split, which baselines are fitted to."""
        return sample_rows(self.store, self.hook, self.corpus, split=PROFILE).to(self.device)

    def _controls(self, passes: Sequence[MemberPass]) -> list[RandomPass]:
        """Other directions for each member, so that members are independent draws of the control."""
        controls = []
        for index, found in enumerate(passes):
            density = found.activity.density
            units = RandomDirections.matching(
                density[density > 0],
                self.sample,
                self.mean,
                n=CONTROL_UNITS,
                seed=self.seed + 1 + index,
                name=found.units.name,
                hook=self.hook,
            )
            controls.append(RandomPass(units, self.corpus, self.seed, self.scores))
        return controls

    def _encoded(self, name: str, empty: Sequence[P], title: str) -> list[P]:
        encoding: Encoding[P] = Encoding(
            name=name,
            corpus=self.corpus,
            empty=empty,
            hook=self.hook,
            device=self.device,
            folder=self.folder / name if self.scores else None,
        )
        return run(encoding, self.folder, self.progress, title, self.gather)

    def _checked(self, passes: Sequence[MemberPass], controls: Sequence[RandomPass]) -> list[Gathering]:
        """For each member three gatherings of a second pass: of its units, of shuffled ones, of random directions."""
        firsts: list[Gathering] = []
        sources: list[Source] = []
        for index, (found, control) in enumerate(zip(passes, controls, strict=True)):
            firsts += [found.scores, found.shuffled_scores, control.scores]
            members = Source(
                folder=self.folder / "members",
                number=index,
                n_units=found.units.n,
                gatherings=(3 * index, 3 * index + 1),
                shuffled=found.shuffled_units,
                seed=self.seed,
            )
            random = Source(
                folder=self.folder / "controls", number=index, n_units=control.units.n, gatherings=(3 * index + 2,)
            )
            sources += [members, random]
        empty = []
        with (
            self.progress.bar("Fitting explanations", len(passes), "dictionaries") as bar,
            one_thread_each(len(firsts)) as pool,
        ):
            for second in pool.map(lambda first: Gathering.second(first, self.scores), firsts):
                empty.append(second)
                bar.advance(1 / 3)
        if not any(each.accumulators for each in empty):
            return empty
        checking = Checking(name="checked", corpus=self.corpus, empty=empty, sources=sources)
        return run(checking, self.folder, self.progress, "Measuring explanations", self.gather)

    def _analysed(
        self, member: Member, found: MemberPass, random: RandomPass, seconds: Sequence[Gathering]
    ) -> Analysed:
        directions = found.units.directions
        with torch.inference_mode():
            raised, missing = self._logits(found.units.writes, directions)
            nearest = neighbours(found.units.source, found.units.feature)
        tables = {
            "units": units_table(found, raised, nearest),
            "examples": examples_table(found),
            "histograms": histograms_table(found),
            "controls": controls_table(found, random),
        }
        firsts = (found.scores, found.shuffled_scores, random.scores)
        own, shuffled, drawn_at_random = (
            scored(first, second, self.scores) for first, second in zip(firsts, seconds, strict=True)
        )
        few = found.shuffled_scores.subject.units
        everything = Found.of(found.units, own, found.activity)
        return Analysed(
            member=member,
            width=len(found.units.source),
            tables=tables,
            configuration=_configuration(member, found.units),
            shuffled_units=found.shuffled_units,
            side=Side(
                member=member.name,
                configuration=_configuration(member, found.units),
                units=found.units,
                sample=_sample(found),
            ),
            found=everything,
            controls={
                "shuffled": everything.some(found.shuffled_units, few, shuffled),
                "random_directions": Found.of(random.units, drawn_at_random, random.activity),
            },
            not_finite=found.not_finite,
            tokens_sketched=isinstance(found.token_sums, TokenSketch),
            logits_missing=missing,
        )

    def _logits(self, writes: str, directions: Tensor) -> tuple[Logits | None, str | None]:
        """Logits, or None and the reason."""
        if self.model is None:
            return None, "the store does not say which model it is from"
        try:
            found = logits(self.model, writes, directions)
        except ActpipeError as error:  # the model may have been moved since the harvest; everything else can be shown
            return None, str(error)
        return found, None if found else f"{writes} has no direct path to the logits"


def _sample(found: MemberPass) -> CodeSample | None:
    """What the score of neighbours gathered; without it seeds are compared by directions alone."""
    gathered = found.scores.accumulators.get("neighbours")
    return gathered if isinstance(gathered, CodeSample) else None


def _configuration(member: Member, units: UnitSet) -> str:
    if not isinstance(units, DictionaryUnits) or member.kind != "dictionary":
        return member.name
    made = units.dictionary.config
    kept = {name: made.get(name) for name in ("architecture", "fixed", "hyper", "n")}
    return json.dumps({"hook": member.hook, **kept}, sort_keys=True)


def _load(path: Path, device: torch.device | str) -> sae.Dictionary:
    try:
        return sae.load(path, device=device)
    except ValueError as error:
        raise Damaged(f"The dictionary {path} cannot be read ({error}); train again with --overwrite.") from error
