"""A causal language model that remembers what it read last: of the next text only what comes after the common beginning
is computed, and logits only where they are asked for.

The questions about one unit begin alike, with instructions and an explanation, and generation adds a token at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from actpipe.harvest.model import LanguageModel

_NEEDED = frozenset({"past_key_values", "use_cache", "logits_to_keep"})  # arguments of a model that can remember


class PrefixReader:
    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._remembers = set(inspect.signature(model.module.forward).parameters) >= _NEEDED
        self._read: list[int] = []  # whose keys and values are in
        self._cache: Any = None

    def logits(self, ids: Sequence[int], places: Sequence[int]) -> Tensor:
        """[places, vocabulary] float32: what is said of the token after each of `places`, increasing."""
        import torch

        with torch.inference_mode():
            found = self._read_on(ids, places) if self._remembers else self._whole(ids)[list(places)]
        return found.float()

    def _read_on(self, ids: Sequence[int], places: Sequence[int]) -> Tensor:
        import torch

        known = min(_in_common(self._read, ids), places[0])
        cache = self._cache if known else None
        if cache is not None and known < len(self._read):
            cache.crop(known - len(self._read))  # negative: how many to forget
        self._read, self._cache = [], None  # a pass that fails leaves part of its text in the cache
        # Places one by one: a number would cut a slice, and the product of such a slice with a matrix of bfloat16 takes
        # a CPU fifteen times as long as that of the whole (oneDNN in PyTorch 2.13).
        kept = torch.tensor([place - known for place in places], device=self._model.device)
        out = self._model.module(
            input_ids=self._tensor(ids[known:]), past_key_values=cache, use_cache=True, logits_to_keep=kept
        )
        if hasattr(out.past_key_values, "crop"):
            self._read, self._cache = list(ids), out.past_key_values
        found: Tensor = out.logits[0]
        return found

    def _whole(self, ids: Sequence[int]) -> Tensor:
        return self._model.logits({"input_ids": self._tensor(ids)})[0]

    def _tensor(self, ids: Sequence[int]) -> Tensor:
        import torch

        return torch.tensor([list(ids)], device=self._model.device)


def _in_common(first: Sequence[int], second: Sequence[int]) -> int:
    n = min(len(first), len(second))
    return next((i for i in range(n) if first[i] != second[i]), n)
