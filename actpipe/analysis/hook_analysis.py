"""All members of one hook: two passes over its rows, then one set of tables a member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

import sae
from actpipe.errors import ActpipeError, Damaged
from actpipe.harvest.model import resolve_device
from actpipe.progress import Progress

from .corpus import Corpus
from .directions import Logits, logits, neighbours
from .histogram import edges
from .inputs import Inputs, Member
from .member_pass import CONTROL_UNITS, MemberPass, drawn
from .random_directions import RandomDirections, sample_rows
from .sweep import sweep
from .tables import controls_table, examples_table, histograms_table, units_table


@dataclass(frozen=True, kw_only=True)
class Analysed:
    member: Member
    width: int
    tables: dict[str, pa.Table]  # units, examples, histograms, controls
    not_finite: int
    logits_missing: str | None  # why there are none


class HookAnalysis:
    def __init__(
        self, inputs: Inputs, hook: str, corpus: Corpus, *, units: int | None, seed: int, progress: Progress
    ) -> None:
        self.store, self.model, self.hook, self.corpus = inputs.store, inputs.model, hook, corpus
        self.members = [member for member in inputs.members if member.hook == hook]
        self.units, self.seed, self.progress = units, seed, progress
        self.device = resolve_device(None)
        statistics = self.store.statistics(hook)
        self.mean = torch.from_numpy(statistics.mean).float().to(self.device)
        self.edges: NDArray[np.float64] = edges(float(np.sqrt(statistics.mean_square)))

    def run(self) -> Iterator[Analysed]:
        passes = [self._member_pass(member) for member in self.members]
        self._sweep(passes, widest=max(each.dictionary.n for each in passes), title="Reading the store")
        controls = self._controls(passes)
        self._sweep(controls, widest=CONTROL_UNITS, center=self.mean, title="Reading for the controls")
        with self.progress.bar("Writing tables", len(passes), "dictionaries") as bar:
            for index, (member, control) in enumerate(zip(self.members, controls, strict=True)):
                yield self._tables(member, passes[index], control)
                bar.advance(1)

    def _member_pass(self, member: Member) -> MemberPass:
        dictionary = _load(member.path, self.device)
        units = drawn(dictionary.n, self.units or dictionary.n, self.seed)
        return MemberPass(dictionary, units, self.corpus, self.edges, self.seed)

    def _controls(self, passes: list[MemberPass]) -> list[RandomDirections]:
        """Other directions for each member, so that members are independent draws of the control."""
        sample = sample_rows(self.store, self.hook, self.corpus).to(self.device) - self.mean
        controls = []
        for index, found in enumerate(passes):
            density = found.activity.density
            controls.append(RandomDirections(density[density > 0], sample, self.corpus, seed=self.seed + 1 + index))
        return controls

    def _sweep(
        self,
        consumers: list[MemberPass] | list[RandomDirections],
        *,
        widest: int,
        title: str,
        center: Tensor | None = None,
    ) -> None:
        sweep(
            self.store,
            self.hook,
            self.corpus,
            consumers,
            widest=widest,
            center=center,
            device=self.device,
            progress=self.progress,
            title=title,
        )

    def _tables(self, member: Member, found: MemberPass, random: RandomDirections) -> Analysed:
        with torch.inference_mode():
            directions = found.dictionary.directions.float()
            raised, missing = self._logits(member, directions[torch.from_numpy(found.units).to(directions.device)])
            nearest = neighbours(directions, found.units)
        name = member.name
        tables = {
            "units": units_table(name, found, raised, nearest),
            "examples": examples_table(name, found),
            "histograms": histograms_table(name, found),
            "controls": controls_table(name, found, random),
        }
        return Analysed(
            member=member,
            width=found.dictionary.n,
            tables=tables,
            not_finite=found.not_finite,
            logits_missing=missing,
        )

    def _logits(self, member: Member, directions: Tensor) -> tuple[Logits | None, str | None]:
        """Logits, or None and the reason."""
        if self.model is None:
            return None, "the store does not say which model it is from"
        try:
            found = logits(self.model, member.writes, directions)
        except ActpipeError as error:  # the model may have been moved since the harvest; everything else can be shown
            return None, str(error)
        return found, None if found else f"{member.writes} has no direct path to the logits"


def _load(path: Path, device: torch.device | str) -> sae.Dictionary:
    try:
        return sae.load(path, device=device)
    except ValueError as error:
        raise Damaged(f"The dictionary {path} cannot be read ({error}); train again with --overwrite.") from error
