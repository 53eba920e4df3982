"""Texts → the mean over each text's tokens of a model's rows at a hook, and of the codes of units that read them.

The first `context` tokens of a text count, without special tokens and the sink (actpipe/corpora/packing.py).
Memory: 4 bytes a text and coordinate or unit; 46 MB for 5,000 texts and 2,304 units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.units import UnitSet
from actpipe.corpora.packing import Packed, pack, policy_for
from actpipe.errors import Misuse
from actpipe.harvest.capture import capture
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import find_sites
from actpipe.progress import Progress, silent

Floats = NDArray[np.float32]

BATCH = 16  # texts read together
_LETTERS = 12  # a token has fewer on average: of a long text only so many times `context` are tokenised


class Pooled(NamedTuple):
    read: NDArray[np.bool_]  # [texts], whether it has a token that counts
    raw: Floats  # [texts, d]
    codes: dict[str, Floats]  # of each unit set [texts, n]


def pooled(
    model: LanguageModel,
    hook: str,
    unit_sets: Sequence[UnitSet],
    texts: Sequence[str],
    *,
    context: int = 128,
    progress: Progress = silent,
) -> Pooled:
    (site,) = find_sites([hook], model.config, model.tokenizer)
    for units in unit_sets:
        if units.hook != hook:
            raise Misuse(f"The units {units.name} read {units.hook}, not {hook}; probe them at their own hook.")
    sums = {"": np.zeros((len(texts), site.width), np.float32)}
    sums |= {units.name: np.zeros((len(texts), units.n), np.float32) for units in unit_sets}
    counts = np.zeros(len(texts), np.int64)
    with capture(model, [site]) as run, progress.bar("Reading labelled texts", len(texts), "texts") as bar:
        for document, tokens, attention, mask in _first_sequences(model, texts, context):
            rows = run(torch.from_numpy(tokens), torch.from_numpy(attention))[hook]
            for i, number in enumerate(document.tolist()):
                x = rows[i][torch.from_numpy(mask[i]).to(rows.device)].float()
                counts[number] = len(x)
                sums[""][number] = _mean(x)
                for units in unit_sets:
                    sums[units.name][number] = _mean(units.codes(x))
            bar.advance(len(document))
    return Pooled(counts > 0, sums.pop(""), sums)


def _mean(x: Tensor) -> Floats:
    found: Floats = (x.sum(dim=0) / max(len(x), 1)).float().cpu().numpy()
    return found


def _first_sequences(
    model: LanguageModel, texts: Sequence[str], context: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Of each text the first sequence: its number, tokens, which are no padding, which count."""
    tokenizer = model.tokenizer
    special = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.sep_token_id)
    has_special = any(token is not None for token in (*special, model.opening_token))
    policy = policy_for(
        tokenizer,
        context,
        style="documents",
        first="auto" if has_special else "none",
        separator="none",
        opening=model.opening_token,
    )
    short = (text[: context * _LETTERS] for text in texts)
    begun = -1  # the last document met: what else it has is in later sequences
    for packed in pack(short, tokenizer, policy, sequences=1 << 40):
        of = packed.doc.max(axis=1)
        fresh = np.flatnonzero(np.diff(of, prepend=begun) != 0)
        begun = int(of[-1])
        for start in range(0, len(fresh), BATCH):
            yield _part(packed, fresh[start : start + BATCH], of)


def _part(
    packed: Packed, which: NDArray[np.int64], of: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    return of[which], packed.tokens[which].astype(np.int64), packed.doc[which] >= 0, packed.mask[which]
