"""model + packed text → sums at every hook: one streaming pass, nothing of the activations is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.corpora.spool import Spool
from actpipe.errors import Failure, Misuse
from actpipe.harvest.activations import batches_of, is_out_of_memory
from actpipe.harvest.capture import capture
from actpipe.harvest.model import LanguageModel

from . import bootstrap
from .accumulators import HookSums, Positions, Tokens
from .measures import measures
from .subjects import Subject, write_norms
from .texts import Text

ACTIVATION_BYTES = 256_000_000  # of all hooks together in one forward pass
CHUNK_SEQUENCES = 256  # read at once, so that padded sequences find others of their length


class Batch(NamedTuple):
    """Rows of the counted tokens of some sequences."""

    rows: dict[str, Tensor]  # hook → [b, n] float32
    document: NDArray[np.int32]  # [b]
    sequence: NDArray[np.int64]  # [b]
    position: NDArray[np.int64]  # [b]


@dataclass(frozen=True)
class Reading:
    """How a model is read: the same for every text and for its twin."""

    subjects: tuple[Subject, ...]
    eps: tuple[float, ...]
    seed: int
    batch_size: int | None = None

    @property
    def sequences_at_once(self) -> Callable[[int], int]:
        """context → sequences in one forward pass."""
        row_bytes = sum(subject.site.width for subject in self.subjects) * 4
        return lambda context: self.batch_size or max(ACTIVATION_BYTES // (row_bytes * context), 1)


def measure_text(
    model: LanguageModel, text: Text, reading: Reading, advance: Callable[[float], None]
) -> dict[str, HookSums]:
    """{hook: sums over the counted tokens of the text}; `advance` is told the tokens read."""
    bins = Positions.of(text.spool.tokens.shape[1])
    n_measures = len(measures(reading.eps))
    found = {s.hook: HookSums(s.site.width, n_measures, bins, reading.eps) for s in reading.subjects}
    norms = {subject.hook: write_norms(model, subject.site) for subject in reading.subjects}
    for batch in batches(model, text.spool, reading, advance):
        keys = bootstrap.document_keys(text.task, batch.document, reading.seed)
        tokens = Tokens.of(keys, batch.position, bins)
        for hook, rows in batch.rows.items():
            _require_finite(hook, rows, batch)
            found[hook].update(rows, tokens, norms[hook])
    return found


def batches(model: LanguageModel, spool: Spool, reading: Reading, advance: Callable[[float], None]) -> Iterator[Batch]:
    """The counted tokens of every sequence; what the model makes of padding is never seen."""
    context = spool.tokens.shape[1]
    sites = [subject.site for subject in reading.subjects]
    with capture(model, sites) as run:
        for start in range(0, spool.sequences, CHUNK_SEQUENCES):
            tokens, doc, mask = (
                array[start : start + CHUNK_SEQUENCES] for array in (spool.tokens, spool.doc, spool.mask)
            )
            present = doc >= 0
            for chosen, length in batches_of(present, reading.sequences_at_once(context)):
                counted = mask[chosen, :length]
                if counted.any():
                    taken = _run(run, tokens[chosen, :length], present[chosen, :length], model)
                    sequence, position = np.nonzero(counted)
                    where = torch.from_numpy(counted).to(model.device)
                    yield Batch(
                        {hook: value[where].float() for hook, value in taken.items()},
                        doc[chosen, :length][counted],
                        start + chosen[sequence],
                        position,
                    )
                advance(len(chosen) * context)


def _run(
    run: Callable[..., dict[str, Tensor]],
    tokens: NDArray[np.int32],
    present: NDArray[np.bool_],
    model: LanguageModel,
) -> dict[str, Tensor]:
    ids = torch.from_numpy(tokens.astype(np.int64))
    try:
        return run(ids, None if present.all() else torch.from_numpy(present))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise Failure(
            f"{len(ids)} sequences of {ids.shape[1]} tokens do not fit into the memory of {model.device}. Give "
            f"--batch-size {max(len(ids) // 2, 1)}, a smaller --context or fewer hooks."
        ) from error


def _require_finite(hook: str, rows: Tensor, batch: Batch) -> None:
    finite = torch.isfinite(torch.linalg.vector_norm(rows, dim=1))
    if not finite.all():
        bad = int((~finite).nonzero()[0])
        raise Misuse(
            f"The activation at hook {hook!r}, document {batch.document[bad]} (sequence {batch.sequence[bad]}, "
            f"position {batch.position[bad]}) is not finite. Run the model in another --model-dtype, or leave the hook "
            "out."
        )
