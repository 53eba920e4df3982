"""{softmax, entmax} × {dense, top-k} of a T5, on translation and on labels: how good, how sparse.

    python -m tests.replications.t5_attention RUNS

RUNS holds `texts`, which tests/replications/t5_texts.py wrote, and the eight trainings of
docs/replications/t5-attention.md as TASK-ATTENTION-MLP-0. Intervals resample the chapters of the verses and the
sentences of the kinds, and differences the same ones for both models.

Everything is read with the true target in front of the decoder: a label is right where it is the likeliest token, and
a sentence is right where all its labels are, which is where greedy decoding would have said it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from actpipe.antehoc.t5_attention import Attention
from actpipe.antehoc.t5_blocks import MLP
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.pretraining.tasks import IGNORED, Task, get_task
from actpipe.pretraining.texts import Examples, Texts
from actpipe.pretraining.tokenizers import vocabulary_of

from .page import COLOURS, Page, markdown

Floats = NDArray[np.float64]
Sums = dict[str, Floats]  # [examples] each; a mean is a sum over examples of one over that of another
ARMS = tuple(f"{attention}-{mlp}" for attention in ("softmax", "entmax") for mlp in ("dense", "topk"))
TWIN = ARMS[0]
# Of these, differences from the twin are shown, under these titles.
DIFFERENCES = {
    "loss, nats a token": f"loss above that of {TWIN}, nats",
    "tokens right": f"tokens right, less those of {TWIN}",
}
BATCH = 32
DRAWS = 2000
# What is reported: the sums that it is a ratio of, and how it is shown.
MEASURES = {
    "loss, nats a token": ("loss", "tokens"),
    "loss with another's source": ("loss_misled", "tokens"),
    "tokens right": ("right", "tokens"),
    "targets right": ("whole", "one"),
    "attention exactly 0, encoder": ("zeros_encoder", "seen_encoder"),
    "attention exactly 0, decoder": ("zeros_decoder", "seen_decoder"),
    "attention exactly 0, cross": ("zeros_cross", "seen_cross"),
    "keys a query reads, cross": ("kept_cross", "queries_cross"),
    "neurons not 0, encoder": ("active_encoder", "neurons_encoder"),
    "neurons not 0, decoder": ("active_decoder", "neurons_decoder"),
}


@dataclass(frozen=True)
class Experiment:
    name: str
    task: Task
    columns: tuple[str, str]
    group: str
    """Field of what is drawn again for an interval."""


EXPERIMENTS = (
    Experiment("verses", get_task("translation").of({"source": "fr", "target": "en"}), ("fr", "en"), "chapter"),
    Experiment("kinds", get_task("classification").of({}), ("text", "label"), "text"),
)


def gathered(runs: Path) -> pd.DataFrame:
    """One row a task, arm and measure."""
    rows = []
    for experiment in EXPERIMENTS:
        lines = (runs / "texts" / f"{experiment.name}-test.jsonl").read_text(encoding="utf-8").splitlines()
        order = np.random.default_rng(0).permutation(len(lines))  # so that a neighbour's source is anybody's
        tested = [json.loads(lines[place]) for place in order]
        groups = np.unique([row[experiment.group] for row in tested], return_inverse=True)[1]
        found = {arm: measured(runs / f"{experiment.name}-{arm}-0", experiment, tested) for arm in ARMS}
        rows += compared(experiment.name, found, groups)
    return pd.DataFrame(rows)


def measured(folder: Path, experiment: Experiment, tested: list[dict[str, str]]) -> Sums:
    model = load_model(str(folder), dtype="float32", device="cpu")
    parts = [summed(model, batch) for batch in batches(model, experiment, tested)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def batches(model: LanguageModel, experiment: Experiment, tested: list[dict[str, str]]) -> Iterator[dict[str, Tensor]]:
    """In the order of `tested`, each text closed by the end as in training."""
    vocabulary = vocabulary_of(model.tokenizer, experiment.task)
    context = model.config.max_position_embeddings
    texts = model.tokenizer([row[column] for row in tested for column in experiment.columns])["input_ids"]
    closed = [[*text, vocabulary.end] for text in texts]
    ends = np.cumsum([len(text) for text in closed])
    bounds = np.stack([np.concatenate([[0], ends[1:-1:2]]), ends[::2], ends[1::2]], axis=1)
    packed = Texts(np.fromiter(itertools.chain.from_iterable(closed), np.uint32), bounds)
    for first in range(0, len(tested), BATCH):
        index = np.arange(first, min(first + BATCH, len(tested)))
        yield experiment.task.batch(packed, Examples(index, np.zeros_like(index), 0), vocabulary, context=context)


@torch.no_grad()
def summed(model: LanguageModel, batch: dict[str, Tensor]) -> Sums:
    """Of each example of a batch."""
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    counted = labels != IGNORED
    with watched(model.module, inputs["attention_mask"].bool(), counted) as found:
        logits = model.module(**inputs).logits
    right = (logits.argmax(-1) == labels) & counted
    misled = inputs | {name: inputs[name].roll(1, 0) for name in ("input_ids", "attention_mask")}
    found |= {
        "one": torch.ones(len(labels)),
        "tokens": counted.sum(1),
        "right": right.sum(1),
        "whole": (right | ~counted).all(1),
        "loss": losses(logits, labels),
        "loss_misled": losses(model.module(**misled).logits, labels),
    }
    return {name: value.double().numpy() for name, value in found.items()}


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """[B] nats over the labels that count."""
    return F.cross_entropy(logits.mT, labels, ignore_index=IGNORED, reduction="none").sum(1)


class watched:
    """While it is entered, what attention and MLPs do is summed for each example; padding does not count."""

    def __init__(self, module: nn.Module, read: Tensor, said: Tensor) -> None:
        self.module, self.found = module, dict[str, Tensor]()
        length = said.shape[1]
        past = torch.ones(length, length).tril().bool() & said[:, :, None]  # [B, query, key]
        self.seen = {
            "encoder": read[:, :, None] & read[:, None, :],
            "decoder": past,
            "cross": said[:, :, None] & read[:, None, :],
        }
        self.rows = {"encoder": read, "decoder": said}

    def __enter__(self) -> dict[str, Tensor]:
        self.handles = []
        for path, module in self.module.named_modules():
            stack = "encoder" if "encoder_blocks" in path else "decoder"
            if isinstance(module, Attention):
                which = "cross" if path.endswith("cross_attn") else stack
                look, place = partial(self._pattern, which), module.hook_pattern
            elif isinstance(module, MLP):
                look, place = partial(self._neurons, stack), module.hook_post
            else:
                continue
            self.handles.append(place.register_forward_hook(look))
        return self.found

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _pattern(self, which: str, module: nn.Module, given: Any, pattern: Tensor) -> None:
        """`pattern` [B, head, query, key]"""
        seen = self.seen[which][:, None].expand_as(pattern)
        kept = ((pattern > 0) & seen).sum((1, 2, 3))
        count = seen.sum((1, 2, 3))
        self._add(zeros=count - kept, seen=count, kept=kept, queries=seen.any(-1).sum((1, 2)), of=which)

    def _neurons(self, stack: str, module: nn.Module, given: Any, neurons: Tensor) -> None:
        rows = self.rows[stack]
        active = ((neurons != 0) & rows[:, :, None]).sum((1, 2))
        self._add(active=active, neurons=rows.sum(1) * neurons.shape[-1], of=stack)

    def _add(self, *, of: str, **sums: Tensor) -> None:
        for name, value in sums.items():
            self.found[f"{name}_{of}"] = self.found.get(f"{name}_{of}", torch.zeros(len(value))) + value


def compared(name: str, found: Mapping[str, Sums], groups: NDArray[np.integer[Any]]) -> list[dict[str, Any]]:
    """Each measure of each arm with its interval, and its difference from the twin's with the interval of that."""
    n = int(groups.max()) + 1
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS)  # [draws, groups]
    rows = []
    for measure, (above, below) in MEASURES.items():
        values = {}
        for arm, sums in found.items():
            top, bottom = (np.bincount(groups, sums[part], n) for part in (above, below))
            values[arm] = (top.sum() / bottom.sum(), drawn @ top / (drawn @ bottom))
        for arm, (value, draws) in values.items():
            apart = draws - values[TWIN][1]
            rows.append(
                {
                    "task": name,
                    "arm": arm,
                    "measure": measure,
                    "value": value,
                    **interval("", draws),
                    "difference": value - values[TWIN][0],
                    **interval("difference_", apart),
                    "examples": len(groups),
                    "groups": n,
                }
            )
    return rows


def interval(prefix: str, draws: Floats) -> dict[str, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return {f"{prefix}low": float(low), f"{prefix}high": float(high)}


def tables(numbers: pd.DataFrame) -> Mapping[str, str]:
    return {name: table(own) for name, own in numbers.groupby("task", sort=False)}


def table(numbers: pd.DataFrame) -> str:
    """Values with intervals; in the next lines differences from the twin."""
    rows = []
    for measure, own in numbers.groupby("measure", sort=False):
        rows.append([measure, *(f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in own.itertuples())])
        if measure in DIFFERENCES:
            apart = [
                ""
                if row.arm == TWIN
                else f"{row.difference:+.3f} [{row.difference_low:+.3f}, {row.difference_high:+.3f}]"
                for row in own.itertuples()
            ]
            rows.append([f"… less that of {TWIN}", *apart])
    return markdown(["", *ARMS], rows)


def figure(numbers: pd.DataFrame) -> alt.HConcatChart:
    """What each sparse form costs, on each task."""
    return alt.hconcat(
        *(_panel(numbers[numbers["measure"] == measure], title) for measure, title in DIFFERENCES.items())
    )


def _panel(numbers: pd.DataFrame, title: str) -> alt.LayerChart:
    values = alt.InlineData(values=numbers[numbers["arm"] != TWIN].round(5).to_dict("records"))
    base = alt.Chart(values).encode(
        y=alt.Y("arm:N", title=None, sort=list(ARMS)),
        yOffset="task:N",
        color=alt.Color("task:N", title="task", scale=alt.Scale(range=COLOURS)),
    )
    lines = base.mark_rule().encode(x=alt.X("difference_low:Q", title=title), x2="difference_high:Q")
    points = base.mark_point(filled=True, size=60).encode(x="difference:Q")
    panel: alt.LayerChart = (lines + points).properties(width=260, height=140)
    return panel


PAGE = Page("t5-attention", gathered, tables, figure)

if __name__ == "__main__":
    PAGE.command(__doc__)
