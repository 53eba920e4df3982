"""What `actpipe analyze` can be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from actpipe.errors import Misuse
from actpipe.places import Place

FITTED = ("pca", "ica", "nmf", "random", "basis")  # by units/baselines.py
NEURONS = "neurons"  # the coordinates of the hook itself
BASELINES = (*FITTED, NEURONS)


@dataclass(frozen=True, kw_only=True)
class AnalyzeConfig:
    run: Annotated[Path, "Folder that `actpipe train-sae` wrote, or a store: then its own units are scored."]
    out: Annotated[Path, "Folder of the report."]
    store: Annotated[Place | None, "Store to analyse on; the one the run was trained on when not given."] = None
    scores: Annotated[str, "Scores beyond those of tokens: all, none, or a list such as rules,concepts."] = "all"
    encoder: Annotated[str | None, "Sentence encoder for meaning: minilm, or a folder. Default: token embeddings."] = (
        None
    )
    baselines: Annotated[
        str, "Baselines beside the dictionaries, such as pca,ica,nmf,random,basis,neurons, at their L0."
    ] = ""
    native: Annotated[bool, "The coordinates of each hook too: neurons, codes of a sparse model, the basis."] = False
    model_controls: Annotated[
        bool, "Controls that the model runs for: the same units before training, random neurons behind a nonlinearity."
    ] = False
    draws: Annotated[
        int, "Divisions of the documents on which 60 units of each set are scored: how sure the order is."
    ] = 1
    effects: Annotated[int, "Units of each dictionary that are ablated and steered in the model; 0: none."] = 0
    probe: Annotated[str | None, "Labelled texts to probe on: reviews, actpipe:factorlang, or a JSONL file."] = None
    units: Annotated[int | None, "Features of each dictionary, drawn at random; all when not given."] = None
    workers: Annotated[int | None, "Gather with so many processes of Dask. Default: in this one."] = None
    scheduler: Annotated[str | None, "Gather with the workers of this Dask scheduler (tcp://…)."] = None
    seed: Annotated[int, "Draws the features and the controls."] = 0
    overwrite: Annotated[bool, "Compute again even when nothing changed."] = False

    @property
    def baseline_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, self.baselines.split(","))))

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.baseline_names) - set(BASELINES)):
            raise Misuse(f"There is no baseline {unknown[0]!r}; there are {', '.join(BASELINES)}.")
        if self.units is not None and self.units < 1:
            raise Misuse(f"--units {self.units} leaves nothing to analyse; give a number of features of at least 1.")
        if self.workers is not None and self.workers < 1:
            raise Misuse(f"--workers {self.workers} can do nothing; give at least 1, or leave it out.")
        if self.scheduler is not None and not re.fullmatch(r"([a-z]+://)?[^\s/]+:\d+/?", self.scheduler):
            raise Misuse(f"--scheduler {self.scheduler!r} is no address; write it as tcp://HOST:8786.")
        if self.workers is not None and self.scheduler is not None:
            raise Misuse("--workers starts processes here and --scheduler names others; give one of them.")
        if self.draws < 1:
            raise Misuse(f"--draws {self.draws} are no divisions of the documents; give a number of at least 1.")
        if self.effects < 0:
            raise Misuse(f"--effects {self.effects} are no units; give a number of at least 0.")
        if self.probe == "":
            raise Misuse("--probe '' names no labelled texts; leave it out, or give some.")
        if not 0 <= self.seed < 2**31:
            raise Misuse(f"--seed {self.seed} is out of range; give a whole number from 0 to 2147483647, not negative.")
