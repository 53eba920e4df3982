"""A short run of the model on the first sequences of the text: what a harvest needs to know before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.errors import Misuse
from actpipe.harvest.activations import Activations, is_out_of_memory
from actpipe.harvest.batch_size import fastest
from actpipe.harvest.capture import capture
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import Site
from actpipe.progress import Progress

SAMPLE_TOKENS = 4096  # rows from which compression and scales are measured
LARGEST_BATCH_TOKENS = 65_536


@dataclass(frozen=True)
class Probe:
    batch_size: int
    tokens_per_second: float | None  # of the forward pass; None where not one batch fitted into memory
    model_dtype: str
    sample: dict[str, Tensor]  # hook → float32 [rows, width], of the rows that count, if any


def probe(
    model: LanguageModel,
    sites: Sequence[Site],
    tokens: NDArray[np.int32],
    doc: NDArray[np.int32],
    mask: NDArray[np.bool_],
    batch_size: int | None,
    progress: Progress,
    *,
    planned: int,
) -> Probe:
    """Measure on these sequences [n, context] of the `planned` ones; without `batch_size`, find the one that pays."""
    sequences, context = tokens.shape
    largest = min(max(LARGEST_BATCH_TOKENS // context, 1), sequences)
    sizes = _powers_of_two(largest) if batch_size is None else [min(batch_size, sequences)]
    held = min(max(SAMPLE_TOKENS // context, 1), sequences)
    # float32, because some models keep their residual stream in it whatever their dtype.
    rows = {site.hook: torch.zeros(held * context, site.width) for site in sites}
    with progress.bar("Trying the model", None, "tokens") as bar, capture(model, sites) as run:
        trial = fastest(_attempt(run, model, tokens, doc >= 0, bar.advance), sizes, sequences=planned)
        Activations(run, model, trial.batch_size, progress).fill(tokens[:held], doc[:held], rows, bar.advance)
    for hook, each in rows.items():
        _require_finite(hook, each, doc[:held].reshape(-1), context)
    counted = torch.from_numpy(mask[:held].reshape(-1))
    return Probe(
        batch_size=trial.batch_size if batch_size is None else batch_size,
        tokens_per_second=trial.sequences_per_second * context or None,
        model_dtype=str(model.dtype).removeprefix("torch."),
        sample={hook: each[counted] if counted.any() else each for hook, each in rows.items()},
    )


def _attempt(
    run: Callable[..., dict[str, Tensor]],
    model: LanguageModel,
    tokens: NDArray[np.int32],
    present: NDArray[np.bool_],
    advance: Callable[[float], None],
) -> Callable[[int], bool]:
    def attempt(size: int) -> bool:
        ids = torch.from_numpy(tokens[:size].astype(np.int64))
        attention = None if present[:size].all() else torch.from_numpy(present[:size])
        try:
            taken = run(ids, attention)
            next(iter(taken.values()))[-1, -1, -1].item()  # a GPU works ahead: wait for it
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        advance(ids.numel())
        return True

    return attempt


def _require_finite(hook: str, rows: Tensor, doc: NDArray[np.int32], context: int) -> None:
    bad = (~torch.isfinite(rows)).nonzero()
    if len(bad):
        row, component = (int(index) for index in bad[0])
        sequence, position = divmod(row, context)
        raise Misuse(
            f"The activation at hook {hook!r}, document {doc[row]} (sequence {sequence}, position {position}, "
            f"component {component}) is {float(rows[row, component])}; nothing was written. Run the model in another "
            "--model-dtype, or leave the hook out."
        )


def _powers_of_two(largest: int) -> Iterator[int]:
    size = 1
    while size <= largest:
        yield size
        size *= 2
