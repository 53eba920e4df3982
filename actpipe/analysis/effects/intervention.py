"""A reading of the model in which tensors at some sites are seen or replaced.

Unlike `splice` several sites can be changed in one pass, and gradients flow through what is put in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from torch import Tensor

from actpipe.errors import Misuse
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.native import See, intercept
from actpipe.harvest.sites import Site, find_sites
from actpipe.store import Store

# Rows at a site, [batch, context, width] → what stands there instead, or None: they are only seen. The answer may have
# a larger batch than the question where the model above the site broadcasts (`Place.broadcasts`).
Change: TypeAlias = Callable[[Tensor], Tensor | None]
Logits: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]


@contextmanager
def intervene(model: LanguageModel, changes: Sequence[tuple[Site, Change]]) -> Iterator[Logits]:
    """Yield `logits(tokens, attention)`. A site is the first call of its module; of two changes at one site the second
    sees what the first left."""
    through = {site.through for site, _ in changes}
    if len(through) > 1:
        raise Misuse(
            f"{' and '.join(site.hook for site, _ in changes)} cannot be changed in one pass: some are only in "
            "TransformerLens' bridge. Name hooks of one kind."
        )
    called: set[int] = set()

    def logits(tokens: Tensor, attention: Tensor | None) -> Tensor:
        called.clear()
        inputs = model.inputs(tokens, attention)
        return model.bridge.logits(inputs) if "bridge" in through else model.logits(inputs)

    with ExitStack() as opened:
        for number, (site, change) in enumerate(changes):
            see = _once(number, called, change)
            if site.through == "bridge":
                opened.enter_context(model.bridge.intercept({site.path: see}))
            else:
                opened.enter_context(intercept(model.module.get_submodule(site.path), site.side, see))
        yield logits


def site_of(model: LanguageModel, store: Store, hook: str) -> Site:
    """The place of a hook: as the store recorded it, or, for one that was not harvested, as the model has it."""
    recorded = store.config.get("sites", {}).get(hook)
    if recorded is not None:
        return Site.recorded(hook, recorded, store.hooks[hook])
    (site,) = find_sites((hook,), model.config, model.tokenizer)
    return site


def _once(number: int, called: set[int], change: Change) -> See:
    def see(value: Tensor) -> Tensor | None:
        if number in called:  # a module that is called again in the same pass
            return None
        called.add(number)
        # Heads stay apart in some models ([batch, context, heads, width]); a row of the store is flat.
        new = change(value.flatten(2))
        return None if new is None else new.to(value.dtype).reshape(len(new), *value.shape[1:])

    return see
