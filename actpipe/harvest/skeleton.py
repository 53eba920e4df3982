"""The model without weights: every module, name and width is known from the configuration alone.

It is built and run on fake tensors, which have a shape and no memory, so a model of any size takes about a second.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from actpipe.antehoc.hugging_face import own_places
from actpipe.harvest.bridge import Bridge, Place
from actpipe.harvest.model import auto_class, inputs_of, kind_of
from actpipe.harvest.native import See, Side, intercept
from actpipe.harvest.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

SIDES: tuple[Side, ...] = ("input", "output")
BATCH, CONTEXT = 2, 13  # a context that is no model's number of heads, so that no table of heads looks like rows


class Skeleton:
    """What can be hooked in a model, and how wide it is."""

    def __init__(self, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> None:
        self.config, self._tokenizer = config, tokenizer
        self._kind = kind_of(config)
        with _weightless():
            self._module = _build(config)
            self.paths = [path for path, _ in self._module.named_modules() if path]
            self._own_places: dict[str, Place | None] = dict(own_places(self._module))
            self.widths = self._native_widths()

    @cached_property
    def places(self) -> dict[str, Place | None]:
        """Every TransformerLens name and the side of a native module that is its tensor; None where only the bridge
        has it. A model of ours says so itself, with a module at every name."""
        return self._own_places or self.bridge.places

    def is_switched_off(self, name: str) -> bool:
        return not self._own_places and self.bridge.is_switched_off(name)

    @cached_property
    def bridge(self) -> Bridge:
        """From here on the native module is in pieces; its widths are known already."""
        with _weightless():
            return Bridge.over(self._module, self._tokenizer)

    @cached_property
    def bridged_shapes(self) -> dict[str, torch.Size]:
        """Of every name that only the bridge computes."""
        shapes: dict[str, torch.Size] = {}
        if self._own_places:
            return shapes

        def looking(name: str) -> See:
            def look(value: Tensor) -> None:
                if isinstance(value, Tensor) and value.is_floating_point():
                    shapes.setdefault(name, value.shape)

            return look

        bridge = self.bridge
        names = [name for name, place in bridge.places.items() if place not in self.widths]
        # Without the mask, whose numbers the bridge looks at and which changes no shape. Mixtures of experts look at
        # numbers too, and there are none; what came before them is known.
        inputs = {name: value for name, value in self._inputs().items() if name != "attention_mask"}
        with (
            _weightless(),
            bridge.intercept({name: looking(name) for name in names if not bridge.is_switched_off(name)}),
            suppress(DataDependentOutputException),
        ):
            bridge.logits(inputs)
        return shapes

    def _native_widths(self) -> dict[Place, int]:
        """Of every side of every native module that holds rows."""
        widths: dict[Place, int] = {}

        def looking(place: Place) -> See:
            def look(value: Tensor) -> None:
                if value.is_floating_point() and has_rows(value.shape):
                    widths.setdefault(place, value.shape[2:].numel())

            return look

        with ExitStack() as opened:
            for path, native in self._module.named_modules():
                for side in SIDES:
                    opened.enter_context(intercept(native, side, looking((path, side))))
            self._module(**self._inputs(), use_cache=False)
        return widths

    def _inputs(self) -> dict[str, Tensor]:
        return inputs_of(self._kind, torch.zeros(BATCH, CONTEXT, dtype=torch.long), None)


def has_rows(shape: torch.Size) -> bool:
    """One row for each token, rather than token ids, rotary tables or attention patterns."""
    return len(shape) > 2 and shape[:2] == (BATCH, CONTEXT)


@contextmanager
def _weightless() -> Iterator[None]:
    from transformers.initialization import no_init_weights

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), no_init_weights(), quiet_transformers():
        yield


def _build(config: PretrainedConfig) -> nn.Module:
    # bfloat16, because some kernels (grouped products of experts) take no other type.
    module: nn.Module = auto_class(config).from_config(copy.deepcopy(config), dtype=torch.bfloat16)
    return module.eval()
