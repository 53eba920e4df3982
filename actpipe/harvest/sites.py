"""Hook names → native modules.

TransformerLens names are the vocabulary, but its bridge forces eager attention and puts a Python hook on every tensor.
So we boot the bridge once over the model's skeleton (the `meta` device: no weights, a third of a second), look up which
native module and which side of it stands behind a name, and throw the bridge away; the model itself is never touched.

    blocks.9.hook_resid_post → blocks.9.hook_out        → output of model.layers.9
    blocks.9.mlp.hook_post   → blocks.9.mlp.out.hook_in → input of model.layers.9.mlp.down_proj
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from actpipe.errors import Missing, Misuse
from actpipe.harvest.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Site:
    """A place in the native model: the tensor that enters or leaves the module at `path`, `width` numbers a token."""

    hook: str
    path: str
    side: Side
    width: int


def skeleton(config: PretrainedConfig) -> nn.Module:
    """The model without weights: every module and shape is there, nothing is allocated."""
    from transformers import AutoModelForCausalLM

    build: Any = AutoModelForCausalLM  # untyped
    with torch.device("meta"), quiet_transformers():
        module: nn.Module = build.from_config(config, attn_implementation="eager")
    return module.eval()


def known_hooks(config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, tuple[str, Side]]:
    """Every TransformerLens name that is one side of a native module, with the module's path."""
    try:
        return _bridged(skeleton(config), tokenizer)
    except NotImplementedError:
        # Where query, key and value are one matrix (GPT-2, NeoX) the bridge cuts it up at once and needs memory behind
        # it. Memory that is reserved and not written costs nothing, so only those matrices become real.
        return _bridged(skeleton(config).to_empty(device="cpu"), tokenizer)


def _bridged(module: nn.Module, tokenizer: PreTrainedTokenizerFast) -> dict[str, tuple[str, Side]]:
    from transformer_lens.model_bridge import TransformerBridge

    # Taken before the bridge wraps the modules: the wrapped ones keep their identity.
    paths = {id(native): path for path, native in module.named_modules()}
    with warnings.catch_warnings(), quiet_transformers():
        warnings.simplefilter("ignore")  # advice on how to use the bridge, which we do not
        bridge = TransformerBridge.boot_transformers(
            "skeleton",
            hf_model=module,
            tokenizer=tokenizer,
            device=next(module.parameters()).device,
            dtype=torch.float32,
        )
    sides: dict[int, tuple[str, Side]] = {}
    for component in bridge.modules():
        native = getattr(component, "original_component", None)
        path = paths.get(id(native))
        if path is None or not hasattr(component, "hook_in"):
            continue
        sides[id(component.hook_in)] = (path, "input")
        sides[id(component.hook_out)] = (path, "output")
    return {name: sides[id(point)] for name, point in bridge.hook_dict.items() if id(point) in sides}


def match_hooks(patterns: Iterable[str], known: dict[str, tuple[str, Side]]) -> dict[str, tuple[str, Side]]:
    """The known hooks that the names and wildcards (`blocks.*.hook_resid_post`) stand for."""
    chosen: dict[str, tuple[str, Side]] = {}
    for pattern in patterns:
        matched = [name for name in known if fnmatchcase(name, pattern)]
        if not matched:
            raise Missing(_unknown(pattern, known))
        chosen |= {name: known[name] for name in matched}
    if not chosen:
        raise Misuse("No hook was named. Give at least one --hook, for example --hook 'blocks.0.hook_resid_post'.")
    return chosen


def _unknown(pattern: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    layers = sorted({int(name.split(".")[1]) for name in names if name.startswith("blocks.")})
    depth = f" Its blocks are 0 to {layers[-1]}." if layers else ""
    return f"This model has no hook {pattern!r}.{depth}{hint} `actpipe info MODEL` lists all of them."


def default_hooks(config: PretrainedConfig) -> tuple[str, ...]:
    """A third of the way up, where features of words have formed and predictions have not: residual stream and MLP."""
    layer = int(config.num_hidden_layers) * 3 // 10
    return (f"blocks.{layer}.hook_resid_post", f"blocks.{layer}.mlp.hook_post")
