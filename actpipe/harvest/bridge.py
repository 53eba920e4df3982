"""TransformerLens' bridge: which native module stands behind a name, and the tensors that only the bridge has.

The bridge takes the module it is given to pieces and forces eager attention, so it never gets the model itself: it gets
a skeleton (names and places), or a twin, a second tree of modules over the same weights (values).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor, nn

from actpipe.errors import Missing
from actpipe.harvest.native import See, Side
from actpipe.harvest.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Place: TypeAlias = tuple[str, Side]  # a native module's path, and which side of it


@dataclass(frozen=True)
class Bridge:
    """A booted `TransformerBridge` and what its names stand for."""

    booted: Any  # untyped
    places: dict[str, Place | None]  # every name; None where no side of a native module is that tensor

    @classmethod
    def over(cls, module: nn.Module, tokenizer: PreTrainedTokenizerFast) -> Bridge:
        """Boot over `module`, which is taken to pieces."""
        # Taken before: the bridge wraps the modules, and the wrapped ones keep their identity.
        paths = {id(native): path for path, native in module.named_modules()}
        booted = _boot(module, tokenizer)
        return cls(booted, _places(booted, paths))

    def logits(self, inputs: dict[str, Tensor]) -> Tensor:
        inputs = dict(inputs)
        found: Tensor = self.booted(inputs.pop("input_ids"), return_type="logits", use_cache=False, **inputs)
        return found

    @contextmanager
    def intercept(self, seen: dict[str, See]) -> Iterator[None]:
        """Inside the block each `see` is given its tensor whenever that is computed, and may answer with another."""

        def hook(see: See) -> Callable[..., Tensor | None]:
            return lambda value, hook: see(value)

        with self.booted.hooks(fwd_hooks=[(name, hook(see)) for name, see in seen.items()]):
            yield

    def canonical(self, name: str) -> str:
        """The bridge's own name behind an alias."""
        found: str = self.booted.hook_dict[name].name or name
        return found

    def is_switched_off(self, name: str) -> bool:
        """Some names are copies that the bridge makes only when it is told to (`set_use_attn_result` and others)."""
        try:
            self.booted.check_hooks_to_add(self.booted.hook_dict[name], name, _unused)
        except ValueError:
            return True
        return False


def _unused(value: Tensor, hook: object) -> None:
    """A hook for asking whether one may be added."""


def twin(module: nn.Module) -> nn.Module:
    """A second tree of modules over the same weights: taking it to pieces leaves the first one whole."""
    # New Parameter objects on the same storage, because booting may give a parameter other data (a cast); buffers are
    # small and copied, because it may write into them.
    shared: dict[int, Any] = {
        id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in module.parameters()
    }
    return copy.deepcopy(module, shared)


def _boot(module: nn.Module, tokenizer: PreTrainedTokenizerFast) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    # The adapter is chosen by this name; a checkpoint may carry that of another head, or none.
    config: Any = module.config
    config.architectures = [type(module).__name__]
    weight = next(module.parameters())
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")  # advice on how to use the bridge
        try:
            return TransformerBridge.boot_transformers(
                "bridged", hf_model=module, tokenizer=tokenizer, device=weight.device, dtype=weight.dtype
            ).eval()
        except ValueError as error:
            if "supported architecture" not in str(error):
                raise
            raise Missing(
                f"TransformerLens has no names for a {type(module).__name__}. Name its modules instead, for example "
                "--hook 'module:PATH' for the output and --hook 'module:PATH@input' for the input of one."
            ) from None


def _places(booted: Any, paths: dict[int, str]) -> dict[str, Place | None]:
    sides: dict[int, Place] = {}
    claimed: set[str] = set()
    for component in booted.modules():
        path = paths.get(id(getattr(component, "original_component", None)))
        # A module has one component; a second one is a part that the native model has no module for (BERT's MLP, whose
        # two linear layers lie in the block itself).
        if path is None or path in claimed or not hasattr(component, "hook_in"):
            continue
        claimed.add(path)
        sides[id(component.hook_in)] = (path, "input")
        sides[id(component.hook_out)] = (path, "output")
    points = booted.hook_dict
    places = {name: sides.get(id(point)) for name, point in points.items()}
    return places | {
        name: places.get(f"{block}.{_ENTERED[last]}.hook_in")
        for name in points
        for block, _, last in [name.rpartition(".")]
        if places[name] is None and last in _ENTERED
    }


# In T5 the residual stream between two sublayers is a point of its own: it is what the next one's norm is given.
_ENTERED = {"hook_resid_mid": "ln2", "hook_resid_mid2": "ln3"}
