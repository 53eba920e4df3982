"""A place in a model where a tensor can be taken or replaced. Its path in the model is its TransformerLens name."""

from __future__ import annotations

from torch import nn


class Hook(nn.Identity):
    """Hands its input on. `model.blocks[0].hook_resid_post` is the place that TransformerLens calls
    `blocks.0.hook_resid_post`, so harvesting a model of ours takes no table of names."""

    @property
    def watched(self) -> bool:
        """Whether somebody looks: a network may leave out what is only computed to be looked at."""
        return bool(self._forward_hooks or self._forward_pre_hooks)
