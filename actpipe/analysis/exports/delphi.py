"""A run as delphi's cache of latents, so that its explainers and scorers need not run the language model again.

    latents/HOOK/{start}_{end}.safetensors     features start … end (both inside), from one member of that hook
        locations    [m, 3] (sequence, position, feature − start), ordered; uint16 where all fit, else uint32
        activations  [m] float16; at most 1e-5 is dropped, as delphi drops it
        tokens       [sequences, context] int64
    latents/HOOK/config.json                   delphi's CacheConfig and the name of the model

delphi has one dictionary a hook; where a run has several members of a hook each gets a folder of its own.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

import sae
from actpipe.analysis.config import AnalyzeConfig
from actpipe.analysis.inputs import Inputs, Member, open_inputs
from actpipe.errors import Misuse
from actpipe.files import write_json
from actpipe.progress import Progress

from .export import Export

SPLITS = 5  # delphi's default number of files
LEAST = 1e-5
_ROWS = 4096  # encoded at once


class Delphi(Export):
    name = "delphi"
    text = "delphi's cache of latents"
    source = "run"

    def write(self, source: Path, folder: Path, members: tuple[str, ...], progress: Progress) -> list[str]:
        inputs = open_inputs(AnalyzeConfig(run=source, out=folder))
        chosen = [member for member in inputs.members if not members or member.name in members]
        if unknown := set(members) - {member.name for member in chosen}:
            raise Misuse(f"The run has no member {min(unknown)!r}; it has {', '.join(m.name for m in inputs.members)}.")
        several = len({member.hook for member in chosen}) < len(chosen)
        for member in chosen:
            place = folder / member.name if several else folder
            _write_member(inputs, member, place / "latents" / member.hook, progress)
        return []


def _write_member(inputs: Inputs, member: Member, folder: Path, progress: Progress) -> None:
    assert member.path is not None, "a run has dictionaries"
    dictionary, store = sae.load(member.path), inputs.store
    folder.mkdir(parents=True)
    row, feature, value = _active(inputs, member, dictionary, progress)
    sequence, position = np.divmod(row, store.context)
    for start, stop in _splits(dictionary.n):
        here = (feature >= start) & (feature < stop)
        locations = np.stack([sequence[here], position[here], feature[here] - start], axis=1)
        kind = np.uint16 if locations.max(initial=0) < 1 << 16 else np.uint32
        save_file(
            {
                "locations": locations.astype(kind),
                "activations": value[here].astype(np.float16),
                "tokens": np.ascontiguousarray(store.tokens).astype(np.int64),
            },
            folder / f"{start}_{stop - 1}.safetensors",
        )
    cache = {
        "dataset_repo": inputs.dataset or "",
        "dataset_split": "",
        "dataset_name": "",
        "dataset_column": "text",
        "batch_size": 32,
        "cache_ctx_len": store.context,
        "n_tokens": store.rows,
        "n_splits": SPLITS,
        "model_name": inputs.model,
    }
    write_json(folder / "config.json", cache)


def _active(
    inputs: Inputs, member: Member, dictionary: sae.Dictionary, progress: Progress
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Row, feature and value of the active codes of rows that count."""
    store, counted, found = inputs.store, inputs.store.mask.reshape(-1), []
    with torch.inference_mode(), progress.bar(f"Encoding {member.name}", store.rows, "tokens") as bar:
        for slab in inputs.slabs:
            first, stop = (sequence * store.context for sequence in store.slab_range(slab))
            for start in range(first, stop, _ROWS):
                end = min(start + _ROWS, stop)
                codes = dictionary.encode(store.read(member.hook, start, end).float()).numpy()
                codes[~counted[start:end]] = 0
                row, feature = np.nonzero(np.abs(codes) > LEAST)
                found.append((row + start, feature, codes[row, feature].astype(np.float32)))
                bar.advance(end - start)
    row, feature, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return row, feature, value


def _splits(n: int) -> list[tuple[int, int]]:
    borders = np.linspace(0, n, min(SPLITS, n) + 1).astype(int).tolist()
    return list(itertools.pairwise(borders))
