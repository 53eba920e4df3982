"""The text of some sequences → their rows at every site: batches of one size, each cut to its longest sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.errors import Failure
from actpipe.harvest.capture import capture
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import Site
from actpipe.progress import Progress, silent

Run = Callable[..., dict[str, Tensor]]  # (input_ids, attention=None)
LENGTH_STEP = 16  # tokens; padded sequences are cut to a multiple of it
# How a CPU, the CUDA driver and its libraries say it.
NO_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
Advance = Callable[[float], None]


class Activations:
    """Fills rows of every site for any sequences, in the same way whoever asks and in whatever order."""

    def __init__(self, run: Run, model: LanguageModel, batch_size: int, progress: Progress = silent) -> None:
        self._run, self._device, self._progress = run, model.device, progress
        self._batch_size = self._fitting = batch_size

    def fill(
        self, tokens: NDArray[np.int32], doc: NDArray[np.int32], out: Mapping[str, Tensor], advance: Advance
    ) -> None:
        """Write into out[hook] [sequences · context, width] the rows of `tokens` [sequences, context].

        Padding (doc −1) becomes zeros. `advance` is told the tokens done.
        """
        count, context = tokens.shape
        rows = {hook: each.view(count, context, -1) for hook, each in out.items()}
        present = doc >= 0
        padded = not present.all()
        for chosen, length in batches_of(present, self._batch_size):
            ids = torch.from_numpy(tokens[chosen, :length].astype(np.int64))
            attention = torch.from_numpy(present[chosen, :length]) if padded else None
            for start in range(0, len(chosen), self._fitting):
                part = slice(start, start + self._fitting)
                self._fill_batch(ids[part], None if attention is None else attention[part], rows, chosen[part])
            advance(len(chosen) * context)

    def _fill_batch(
        self, ids: Tensor, attention: Tensor | None, rows: Mapping[str, Tensor], chosen: NDArray[np.int64]
    ) -> None:
        try:
            self._fill_at_once(ids, attention, rows, chosen)
        except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises a bare one
            if not is_out_of_memory(error):
                raise
            if len(ids) == 1:
                raise Failure(
                    f"One sequence of {ids.shape[1]} tokens does not fit into the memory of {self._device}. "
                    "Give a smaller --context, fewer hooks, or another --device."
                ) from error
            failed = True
        else:
            failed = False
        if failed:  # outside the handler, whose traceback keeps the tensors alive
            self._shrink(len(ids))
            half = len(ids) // 2
            for part in (slice(0, half), slice(half, None)):
                self._fill_batch(ids[part], None if attention is None else attention[part], rows, chosen[part])

    def _shrink(self, failed: int) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self._fitting > failed // 2:
            self._fitting = max(failed // 2, 1)
            self._progress.say(f"{failed} sequences at once do not fit into memory; going on with {self._fitting}.")

    def _fill_at_once(
        self, ids: Tensor, attention: Tensor | None, rows: Mapping[str, Tensor], chosen: NDArray[np.int64]
    ) -> None:
        length = ids.shape[1]
        moved = None if attention is None else attention.to(self._device)
        for hook, value in self._run(ids.to(self._device), moved).items():
            target = rows[hook]
            value = value.to(target.dtype)
            if moved is None:
                target[chosen[0] : chosen[-1] + 1] = value
            else:
                # What the model makes of padding depends on the batch; rows on disk must not.
                target[chosen, :length] = value.masked_fill(~moved[..., None], 0).to(target.device)
                target[chosen, length:] = 0


def batches_of(present: NDArray[np.bool_], size: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Numbers of the sequences of each batch, and the length to which it is cut.

    That is a function of each sequence alone (its own, rounded up), so its rows do not depend on its company: another
    length is another sum, which changes last bits, and so does a mask where none is needed. Without padding the batches
    are neighbours; with it they hold one length each, with padding or without, the longest first, so that memory that
    does not suffice is found at once.
    """
    own, context = present.sum(axis=1), present.shape[1]
    lengths = np.minimum(-(-own // LENGTH_STEP) * LENGTH_STEP, context).clip(min=1)
    kinds = 2 * lengths + (own == lengths)
    for kind in np.unique(kinds)[::-1].tolist():
        alike = np.flatnonzero(kinds == kind)
        for start in range(0, len(alike), size):
            yield alike[start : start + size], kind // 2


def is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


@contextmanager
def activations(
    model: LanguageModel, sites: Sequence[Site], batch_size: int, progress: Progress = silent
) -> Iterator[Activations]:
    """The model is hooked inside the block."""
    with capture(model, sites) as run:
        yield Activations(run, model, batch_size, progress)
