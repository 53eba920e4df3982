"""The sets of units of a hook: dictionaries, what the model itself has there, and baselines fitted beside them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import sae
from actpipe.errors import Damaged
from actpipe.harvest.model import LanguageModel
from actpipe.progress import Progress
from actpipe.store import Store

from .config import NEURONS
from .corpus import Corpus
from .inputs import Member
from .member_pass import drawn
from .splits import PROFILE
from .units import UnitSet
from .units.baselines import fit_baseline
from .units.chosen import ChosenUnits, whole
from .units.dictionary import DictionaryUnits, gives_negative_codes
from .units.native import NativeUnits, written_by
from .units.random_directions import sample_rows


class UnitSets:
    def __init__(
        self,
        store: Store,
        hook: str,
        corpus: Corpus,
        *,
        units: int | None,
        seed: int,
        device: torch.device,
        language_model: LanguageModel | None,
        progress: Progress,
    ) -> None:
        """`units`: of each set at most so many, drawn at random."""
        self.store, self.hook, self.corpus = store, hook, corpus
        self.units, self.seed, self.device = units, seed, device
        self.language_model, self.progress = language_model, progress
        self.sample = sample_rows(store, hook, corpus).to(device)

    def of(self, members: Sequence[Member]) -> list[UnitSet]:
        """In the order of `members`: baselines come last, and are made as sparse as what is before them."""
        dictionaries = [self._dictionary(member) for member in members if member.kind == "dictionary"]
        natives = [self._native(member) for member in members if member.kind == "native"]
        names = [member for member in members if member.kind == "baseline"]
        return [*dictionaries, *natives, *self._baselines(names, dictionaries or natives)]

    def _native(self, member: Member, k: int | None = None) -> UnitSet:
        """All coordinates of the hook, or of each row the `k` with the largest contributions."""
        written = written_by(self.language_model, self.store, self.hook)
        units = NativeUnits(
            name=member.name,
            kind="topk_neuron" if k is not None and written.kind == "neuron" else written.kind,
            hook=self.hook,
            writes=written.writes,
            written=written.directions.to(self.device),
            signed=bool((self.sample < 0).any()),
            path=written.path,
            k=k,
        )
        return self._few(units)

    def _baselines(self, members: Sequence[Member], beside: Sequence[UnitSet]) -> list[UnitSet]:
        if not members:
            return []
        with torch.inference_mode():
            fired = [float((whole(units).codes(self.sample) > 0).float().sum(dim=1).mean()) for units in beside]
        k, width = max(1, round(float(np.median(fired)))), int(np.median([len(units.source) for units in beside]))
        return [
            self._native(member, k) if member.result["architecture"] == NEURONS else self._fitted(member, k, width)
            for member in members
        ]

    def _fitted(self, member: Member, k: int, width: int) -> UnitSet:
        self.progress.say(f"Fitting {member.name} to {len(self.profile):,} rows.")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kind, size = member.result["architecture"], {"k": k, "width": width}
            fitted = fit_baseline(kind, self.profile, name=member.name, hook=self.hook, seed=self.seed, **size)
        for text in dict.fromkeys(str(one.message).rstrip(".") for one in caught):
            self.progress.say(f"{member.name}: {text}.")
        return self._few(fitted)

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


def _load(path: Path, device: torch.device | str) -> sae.Dictionary:
    try:
        return sae.load(path, device=device)
    except ValueError as error:
        raise Damaged(f"The dictionary {path} cannot be read ({error}); train again with --overwrite.") from error
