"""Baselines (architectures that are `Fitted`): each from one bounded sample of rows, saved as soon as it is there."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse
from actpipe.progress import Bar

from .group import Group, PlannedMember
from .reading import Reading
from .run_folder import RunFolder

LARGEST_SAMPLE_ROWS, LARGEST_SAMPLE_BYTES = 65_536, 512 * 2**20


def sample_rows(d: int, available: int) -> int:
    return max(1, min(LARGEST_SAMPLE_ROWS, LARGEST_SAMPLE_BYTES // (4 * d), available))


def fitted(
    run: RunFolder, group: Group, member: PlannedMember, reading: Reading, sample: Tensor, provenance: Mapping[str, Any]
) -> sae.Dictionary:
    """From the run folder if an earlier session fitted it."""
    folder = run.member(member.name)
    if (folder / "config.json").exists():
        return sae.load(folder)
    dictionary = _fit(group, member, reading, sample, provenance)
    dictionary.save(folder)
    return dictionary


def _fit(
    group: Group, member: PlannedMember, reading: Reading, sample: Tensor, provenance: Mapping[str, Any]
) -> sae.Dictionary:
    assert isinstance(group.architecture, sae.Fitted)
    seed, hyper, began = int(member.settings["seed"]), group.hyper(member), time.perf_counter()
    try:
        params = group.architecture.fit(group.size(member), hyper, torch.Generator().manual_seed(seed), sample)
    except ValueError as error:
        raise Misuse(f"{member.name} cannot be fitted: {error}.") from None
    training = {"seed": seed, "rows": len(sample), "seconds": time.perf_counter() - began}
    return sae.Dictionary.trained(
        group.architecture,
        params,
        hyper=hyper,
        scaling=reading.scaling,
        config={**provenance, "training": training},
    )


def fit_all(
    run: RunFolder,
    groups: Sequence[Group],
    reading: Reading,
    *,
    seed: int,
    provenance: Mapping[str, Mapping[str, Any]],
    bar: Bar,
    say: Callable[[str], None],
) -> list[sae.Dictionary]:
    """Of every member, in order; `provenance` by the name of the member. What a fit warns of is said."""
    sample = reading.sample(sample_rows(groups[0].d, reading.n_rows), seed=seed + 1)
    found = []
    for group in groups:
        for member in group.members:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found.append(fitted(run, group, member, reading, sample, provenance[member.name]))
            for text in dict.fromkeys(str(one.message).rstrip(".") for one in caught):
                say(f"{member.name}: {text}.")
            bar.advance(1)
    return found
