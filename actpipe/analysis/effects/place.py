"""Where units stand in the model, and one sequence read with and without a change of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from actpipe.errors import Misuse
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import Site
from actpipe.store import Store

from .intervention import intervene, site_of
from .text import Text

LOGITS_AT_ONCE = 2**25  # of one reading: 4 sequences of 128 tokens over 49k words


@dataclass(frozen=True, kw_only=True)
class Place:
    """A change of units adds rows at `writes`; what they do is known from the rows at `reads`."""

    model: LanguageModel
    reads: Site
    writes: Site

    @classmethod
    def of(cls, model: LanguageModel, store: Store, reads: str, writes: str) -> Place:
        if not model.predicts_tokens:
            raise Misuse(f"{model.name} does not predict the next token, so what units do to it cannot be measured.")
        return cls(model=model, reads=site_of(model, store, reads), writes=site_of(model, store, writes))

    def at_once(self, context: int) -> int:
        """Sequences read together."""
        vocabulary: int = self.model.config.get_text_config().vocab_size
        return max(1, LOGITS_AT_ONCE // (context * vocabulary))

    @cached_property
    def broadcasts(self) -> bool:
        """Whether one sequence below `writes` may become several there: then what lies below is computed once."""
        tokens = torch.zeros(1, 4, dtype=torch.int64)
        try:
            apart = _logits(self, tokens.expand(2, -1), torch.zeros(1, 1, self.writes.width))
            grown = _logits(self, tokens, torch.zeros(2, 1, self.writes.width))
        except (RuntimeError, ValueError, IndexError):  # shapes that do not fit, from any model
            return False
        return grown.shape == apart.shape and bool(torch.allclose(grown, apart, rtol=1e-3, atol=1e-4))


@dataclass(frozen=True, kw_only=True, eq=False)
class Clean:
    """Sequences read by the model as it is."""

    text: Text
    reads: Tensor  # [changed rows, d] float32
    writes: Tensor  # [changed rows, d_out] float32
    ln_p: Tensor  # [counted, vocabulary] float32
    ce: Tensor  # [counted] float64, CPU


def read_clean(place: Place, text: Text) -> Clean:
    seen: dict[str, Tensor] = {}
    rows = text.changed.to(place.model.device)

    def note(name: str, value: Tensor) -> None:
        seen[name] = value[rows].float()

    changes = [(place.reads, lambda x: note("reads", x)), (place.writes, lambda x: note("writes", x))]
    with torch.inference_mode(), intervene(place.model, changes) as logits:
        counted = _counted(logits(text.tokens, text.attention), text)
        ln_p = counted.float().log_softmax(-1)
        ce = -ln_p.gather(1, text.wanted.to(ln_p.device)[:, None])[:, 0].double().cpu()
    return Clean(text=text, reads=seen["reads"], writes=seen["writes"], ln_p=ln_p, ce=ce)


def read_changed(place: Place, text: Text, added: Tensor) -> Tensor:
    """[b, counted, vocabulary] logits of one sequence with each of `added` [b, context, d_out] added at `writes`."""
    tokens, attention = text.tokens, text.attention
    if not place.broadcasts:
        tokens, attention = (each.expand(len(added), -1) for each in (tokens, attention))
    found = _logits(place, tokens, added, attention)
    return found[:, :-1][:, text.predicted_at[0].to(found.device)]


def _logits(place: Place, tokens: Tensor, added: Tensor, attention: Tensor | None = None) -> Tensor:
    def add(x: Tensor) -> Tensor:
        return x + added.to(x.device, x.dtype)

    with torch.inference_mode(), intervene(place.model, [(place.writes, add)]) as logits:
        return logits(tokens, attention)


def _counted(logits: Tensor, text: Text) -> Tensor:
    return logits[:, :-1][text.predicted_at.to(logits.device)]
