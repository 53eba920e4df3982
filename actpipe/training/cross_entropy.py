"""What a reconstruction costs the model: its predictions with x̂ in place of x at the hook.

CE    mean over counted tokens of −ln q(token), q being the model's prediction of it; perplexity = e^CE
ΔCE   CE with x̂ − CE of the model as it is
KL    mean over counted tokens of Σ p ln(p / q), p without the replacement and q with it

loss recovered = (CE₀ − CE) / (CE₀ − CE_clean), KL recovered = 1 − KL / KL₀: the share of the damage done by replacing
the rows by zero (or, `_mean`, by their mean) that x̂ avoids.

Only rows that the mask counts are replaced: a dictionary was never shown the others, and the first token of a sequence
carries the attention sink, without which any model falls apart whatever the dictionary does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from actpipe.errors import Misuse
from actpipe.harvest.capture import capture, splice
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.recorded import recorded_model
from actpipe.harvest.sites import Site
from actpipe.progress import Bar
from actpipe.store import Store
from sae import Dictionary

SEQUENCES = 16
# Logits are [batch, context, vocabulary], and those of the model as it is are kept beside those of the splice.
LOGITS_AT_ONCE = 2**25  # of one reading: 4 · 128 · 49k fit
LOGITS_WIDENED = 2**23  # turned into float32 probabilities together
ROWS_AT_ONCE = 1024  # answered by a dictionary together: its codes are [rows, n]

# Rows at the hooks that are read, [N, d] float32 → rows at the hook that is replaced, [N, out].
Answer: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Recovery:
    delta_ce: float
    kl: float
    loss_recovered: float
    loss_recovered_mean: float
    kl_recovered: float
    kl_recovered_mean: float
    perplexity: float
    perplexity_clean: float
    ce_clean: float
    ce_zero: float
    ce_mean: float
    kl_zero: float
    kl_mean: float
    ce_tokens: int


@dataclass(frozen=True)
class Probe:
    """The text on which cross-entropies are measured; all [sequences, context]."""

    tokens: Tensor
    attention: Tensor  # true at tokens that are not padding
    replaced: Tensor  # rows to replace
    counted: Tensor  # tokens whose prediction counts: real tokens of held-out documents


def model_of(store: Store, device: str | None) -> LanguageModel:
    """The model the store was harvested from, in the dtype it was harvested with."""
    return recorded_model(store, device, otherwise="Or skip what needs it with --no-evaluate-loss.")


def choose_probe(store: Store, held_out_share: float) -> Probe:
    held_out = store.held_out(held_out_share)
    most = np.argsort(-held_out.sum(axis=1), kind="stable")[:SEQUENCES]
    counted = held_out[most].copy()
    counted[:, 0] = False  # nothing predicts the first token
    return Probe(
        tokens=torch.from_numpy(store.tokens[most].astype(np.int64)),
        attention=torch.from_numpy(store.doc[most] >= 0),
        replaced=torch.from_numpy(store.mask[most].copy()),
        counted=torch.from_numpy(counted),
    )


def recoveries(
    model: LanguageModel,
    store: Store,
    hook: str,
    dictionaries: Sequence[Dictionary],
    probe: Probe,
    bar: Bar,
    *,
    target: str | None = None,
) -> list[Recovery]:
    """One for each dictionary; `bar` advances by one for each of the 3 + len(dictionaries) readings of the text.

    `target`: the hook that transcoders predict from the rows of `hook`; its rows are replaced.
    """
    for dictionary in dictionaries:
        if (dictionary.architecture.reads == "pair") != (target is not None):
            raise Misuse(
                f"A {dictionary.architecture.name} "
                + ("predicts no other hook than it reads." if target else "needs the name of the hook it predicts.")
            )
    answers = [_reconstruction(dictionary, model.device) for dictionary in dictionaries]
    return _measured(model, store, [hook], target or hook, answers, probe, bar)


def block_recoveries(
    model: LanguageModel,
    store: Store,
    hooks: Sequence[str],
    crosscoders: Sequence[Dictionary],
    probe: Probe,
    bar: Bar,
) -> list[dict[str, Recovery]]:
    """For each crosscoder over the rows of `hooks` side by side: what replacing the rows of each hook alone costs.

    All hooks are read from the model as it is. To replace all at once would say little more than the last of them does:
    along the residual stream it overwrites what was written before. `bar` advances as for `recoveries`, for each hook.
    """
    found: list[dict[str, Recovery]] = [{} for _ in crosscoders]
    begin = 0
    for hook in hooks:
        block = slice(begin, begin := begin + store.hooks[hook])
        answers = [_reconstruction(crosscoder, model.device, block) for crosscoder in crosscoders]
        for one, recovery in zip(found, _measured(model, store, hooks, hook, answers, probe, bar), strict=True):
            one[hook] = recovery
    return found


def _reconstruction(dictionary: Dictionary, device: torch.device, block: slice = slice(None)) -> Answer:
    # Moved when it is used, so that only one is on the device at a time.
    return lambda x: dictionary.to(device).reconstruct(x)[:, block]


def _measured(
    model: LanguageModel,
    store: Store,
    hooks: Sequence[str],
    target: str,
    answers: Sequence[Answer],
    probe: Probe,
    bar: Bar,
) -> list[Recovery]:
    """What `answers`, made from the rows of `hooks` side by side, cost in place of the rows of `target`."""
    sites, place = [_site(store, hook) for hook in hooks], _site(store, target)
    mean = torch.from_numpy(store.statistics(target).mean).to(model.device, torch.float32)
    ablations: list[Answer] = [lambda x: torch.zeros_like(mean).expand(len(x), -1), lambda x: mean.expand(len(x), -1)]
    sums = torch.zeros(1 + len(ablations) + len(answers), 2, dtype=torch.float64)
    parts = list(_parts(probe, _sequences_at_once(model, probe)))
    for part in parts:
        rows = _rows(model, sites, part)
        clean = _predictions(model, place, part, None)
        for i, answer in enumerate([None, *ablations, *answers]):
            new = None if answer is None else _answered(answer, rows)
            predicted = clean if new is None else _predictions(model, place, part, new)
            sums[i] += _nats(predicted, clean, part.wanted.to(model.device))
            bar.advance(1 / len(parts))
    tokens = int(probe.counted.sum())
    clean_nats, zero, average, *spliced = (Nats(*each) for each in (sums / tokens).tolist())
    return [_recovery(one, clean_nats, zero, average, tokens) for one in spliced]


class Nats(NamedTuple):
    """Means over counted tokens."""

    ce: float
    kl: float


class Part(NamedTuple):
    """Some sequences of a probe."""

    tokens: Tensor
    attention: Tensor
    replaced: Tensor
    counted: Tensor

    @property
    def wanted(self) -> Tensor:
        """The counted tokens, one after the other."""
        return self.tokens[:, 1:][self.counted[:, 1:]]


def _parts(probe: Probe, sequences: int) -> Iterator[Part]:
    for begin in range(0, len(probe.tokens), sequences):
        part = slice(begin, begin + sequences)
        yield Part(probe.tokens[part], probe.attention[part], probe.replaced[part], probe.counted[part])


def _sequences_at_once(model: LanguageModel, probe: Probe) -> int:
    vocabulary: int = model.config.get_text_config().vocab_size
    return max(1, LOGITS_AT_ONCE // (probe.tokens.shape[1] * vocabulary))


def _site(store: Store, hook: str) -> Site:
    return Site.recorded(hook, store.config["sites"][hook], store.hooks[hook])


def _rows(model: LanguageModel, sites: Sequence[Site], part: Part) -> Tensor:
    """What the model as it is has at `sites` where rows are replaced, side by side: [N, Σ width] float32.

    A splice changes nothing that is computed before it, so for the hooks of a dictionary these are its inputs then too.
    """
    with capture(model, sites) as run:
        taken = run(part.tokens, part.attention)
        replaced = part.replaced.to(model.device)
        return torch.cat([taken[site.hook][replaced].float() for site in sites], dim=1)


def _answered(answer: Answer, rows: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([answer(some) for some in torch.split(rows, ROWS_AT_ONCE)])


def _predictions(model: LanguageModel, site: Site, part: Part, new: Tensor | None) -> Tensor:
    """Logits [counted tokens, vocabulary] of the model with the rows `new` [N, width] in place of those at `site`."""

    def at_site(value: Tensor) -> Tensor:
        if new is None:
            return value
        flat = value.flatten(2).clone()
        flat[part.replaced.to(flat.device)] = new.to(flat.dtype)
        return flat.view_as(value)

    with torch.inference_mode(), splice(model, site, at_site) as read:
        logits = read(part.tokens, part.attention)
        return logits[:, :-1][part.counted[:, 1:].to(logits.device)]


def _nats(predicted: Tensor, clean: Tensor, wanted: Tensor) -> Tensor:
    """Σ −ln q(token) and Σ KL(p ‖ q) over tokens, [2] float64; logits of q and p [tokens, vocabulary]."""
    total = torch.zeros(2, dtype=torch.float64)
    at_once = max(1, LOGITS_WIDENED // predicted.shape[1])
    for some in range(0, len(wanted), at_once):
        part = slice(some, some + at_once)
        ln_q, ln_p = (logits[part].float().log_softmax(-1) for logits in (predicted, clean))
        total[0] -= ln_q.gather(1, wanted[part, None]).sum(dtype=torch.float64).cpu()
        total[1] += (ln_p.exp() * (ln_p - ln_q)).sum(dtype=torch.float64).cpu()
    return total


def _recovery(spliced: Nats, clean: Nats, zero: Nats, mean: Nats, tokens: int) -> Recovery:
    return Recovery(
        delta_ce=spliced.ce - clean.ce,
        kl=spliced.kl,
        loss_recovered=_share(zero.ce, spliced.ce, clean.ce),
        loss_recovered_mean=_share(mean.ce, spliced.ce, clean.ce),
        kl_recovered=_share(zero.kl, spliced.kl, 0.0),
        kl_recovered_mean=_share(mean.kl, spliced.kl, 0.0),
        perplexity=_exp(spliced.ce),
        perplexity_clean=_exp(clean.ce),
        ce_clean=clean.ce,
        ce_zero=zero.ce,
        ce_mean=mean.ce,
        kl_zero=zero.kl,
        kl_mean=mean.kl,
        ce_tokens=tokens,
    )


def _share(worst: float, value: float, best: float) -> float:
    """NaN where replacing the rows costs the model nothing: then there is nothing to recover."""
    return (worst - value) / (worst - best) if worst != best else math.nan


def _exp(nats: float) -> float:
    return math.exp(nats) if not nats > 700 else math.inf
