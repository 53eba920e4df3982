"""tokens → activations: hook the native modules behind the sites and stop after the last one has fired.

Nothing is computed that is not asked for: no layer above the last site, no unembedding, no cache of keys and values,
and the model's own fast attention stays in place. Sites that only TransformerLens' bridge has are read from it in a
second pass, so what is captured at a site never depends on which others are captured with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeAlias

import torch
from einops import rearrange
from torch import Tensor

from actpipe.errors import Failure
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.native import See, intercept
from actpipe.harvest.sites import Site

Inputs: TypeAlias = dict[str, Tensor]
Activations: TypeAlias = dict[str, Tensor]


class _Enough(Exception):
    """Every site has been seen: not an error, it ends a forward pass whose rest nobody needs."""


@contextmanager
def capture(model: LanguageModel, sites: Sequence[Site]) -> Iterator[Callable[..., Activations]]:
    """Yield `run(input_ids, attention=None) → {hook: [batch, context, width]}`; the hooks are gone when the block ends.

    `attention` [batch, context] is true at tokens that are not padding; None says that all are. The values are the
    model's own tensors: copy what must outlive the next call.
    """
    with ExitStack() as opened:
        passes = [
            opened.enter_context(_watched(model, [site for site in sites if site.through == through]))
            for through in dict.fromkeys(site.through for site in sites)
        ]

        def run(input_ids: Tensor, attention: Tensor | None = None) -> Activations:
            inputs = model.inputs(input_ids, attention)
            taken: Activations = {}
            for read in passes:
                taken |= read(inputs)
            return {site.hook: taken[site.hook] for site in sites}

        yield run


@contextmanager
def splice(model: LanguageModel, site: Site, replace: Callable[[Tensor], Tensor]) -> Iterator[Callable[..., Tensor]]:
    """Yield `logits(input_ids, attention=None)` of the model with `replace(value)` in place of the tensor at `site`."""
    read = _reader(model, site)
    replaced = False

    def once(value: Tensor) -> Tensor | None:
        """A site is the first call of its module, here as in `capture`."""
        nonlocal replaced
        if replaced:
            return None
        replaced = True
        return replace(value)

    def logits(input_ids: Tensor, attention: Tensor | None = None) -> Tensor:
        nonlocal replaced
        replaced = False
        return read(model.inputs(input_ids, attention))

    with _at(model, site, once):
        yield logits


@contextmanager
def _watched(model: LanguageModel, sites: Sequence[Site]) -> Iterator[Callable[[Inputs], Activations]]:
    """Yield a reading of the model that ends when the sites, all native or all of the bridge, have fired."""
    read = _reader(model, sites[0])
    taken: Activations = {}

    def noting(hook: str) -> See:
        def note(value: Tensor) -> None:
            if hook in taken:  # a module that is called again in the same pass
                return
            # Heads stay apart in some models ([batch, context, heads, width]); a row of the store is flat.
            rows = rearrange(value, "batch position ... -> batch position (...)")
            if len(taken) + 1 == len(sites):
                taken[hook] = rows
                raise _Enough
            # The pass goes on, and some models add to a tensor in place (Falcon to the output of its MLP).
            taken[hook] = rows.clone()

        return note

    def run(inputs: Inputs) -> Activations:
        taken.clear()
        try:
            with torch.inference_mode():
                read(inputs)
        except _Enough:
            return dict(taken)
        missing = [site.hook for site in sites if site.hook not in taken]
        raise Failure(f"the forward pass ended and {missing[0]} had not fired. Was the model changed after loading?")

    with ExitStack() as opened:
        for site in sites:
            opened.enter_context(_at(model, site, noting(site.hook)))
        yield run


def _reader(model: LanguageModel, site: Site) -> Callable[[Inputs], Tensor]:
    return model.bridge.logits if site.through == "bridge" else model.logits


def _at(model: LanguageModel, site: Site, see: See) -> AbstractContextManager[None]:
    if site.through == "bridge":
        return model.bridge.intercept({site.path: see})
    return intercept(model.module.get_submodule(site.path), site.side, see)
