"""An original T5 checkpoint → our T5, with the same logits; and the same weights under another attention or MLP."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from actpipe.antehoc.t5 import T5, T5Network
from actpipe.errors import Mismatch, Missing, Misuse

# transformers' names of what stands in a block, in the order of its sublayers, and ours.
_ENCODER = (("SelfAttention", "attn", "ln1"), ("DenseReluDense", "mlp", "ln2"))
_DECODER = (
    ("SelfAttention", "self_attn", "ln1"),
    ("EncDecAttention", "cross_attn", "ln2"),
    ("DenseReluDense", "mlp", "ln3"),
)
_ELSEWHERE = {
    "embed.weight": "shared.weight",
    "encoder_ln_final.weight": "encoder.final_layer_norm.weight",
    "decoder_ln_final.weight": "decoder.final_layer_norm.weight",
    "encoder_positions.table.weight": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "decoder_positions.table.weight": "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
}
_BLOCK = re.compile(r"(encoder|decoder)_blocks\.(\d+)\.(\w+)\.(?:(\w+)\.)?weight")


def load_t5(folder: str | Path) -> tuple[T5, T5Network]:
    """What transformers saved as an original T5 (t5-small … t5-11b), in float32, with softmax and the dense MLP.

    T5 v1.1, Flan-T5 and their kin have gated GELU units, which are never exactly zero: Misuse.
    """
    from transformers import AutoConfig, T5ForConditionalGeneration

    from actpipe.harvest.quiet import quiet_transformers

    if not (Path(folder) / "config.json").is_file():
        raise Missing(f"The folder {folder} holds no config.json, so it is not a saved T5.")
    config = AutoConfig.from_pretrained(folder)
    architecture = _architecture_of(config, str(folder))
    with quiet_transformers():
        theirs = T5ForConditionalGeneration.from_pretrained(folder, dtype="float32").state_dict()
    network = architecture.network()
    network.load_state_dict({ours: theirs[name] for ours, name in _names(network)})
    return architecture, network.eval()


def changed(architecture: T5, network: T5Network, **fields: Any) -> tuple[T5, T5Network]:
    """The same weights in an architecture with other `fields`, such as attention="entmax"; the given network stays.

    Every map takes a softmax checkpoint as it is. Train it on with `at` from 0 and entmax grows out of softmax.
    """
    new = dataclasses.replace(architecture, **fields)
    other, weights = new.network(), network.state_dict()
    started = {name: value for name, value in other.state_dict().items() if name.endswith(".learned")}
    _require_same_shapes(weights, other.state_dict() | started)
    other.load_state_dict({**started, **{name: value for name, value in weights.items() if name in other.state_dict()}})
    return new, other.train(network.training)


def _architecture_of(config: Any, folder: str) -> T5:
    if config.model_type != "t5":
        raise Mismatch(f"{folder} holds a model of type {config.model_type!r}; an original T5 has the type 't5'.")
    if config.is_gated_act or config.dense_act_fn != "relu":
        raise Misuse(
            f"{folder} holds a T5 with units of {config.feed_forward_proj!r} (v1.1, Flan and mT5 have them), which are "
            "never exactly zero; only the original T5, whose units are relu, can be loaded."
        )
    if not config.tie_word_embeddings:
        raise Misuse(
            f"{folder} holds a T5 whose head is a table of its own; the original T5 shares that of the tokens."
        )
    return T5(
        vocabulary=config.vocab_size,
        context=512,  # what it was trained with; relative positions have no end
        d_model=config.d_model,
        n_layers=config.num_layers,
        n_decoder_layers=config.num_decoder_layers,
        n_heads=config.num_heads,
        d_head=config.d_kv,
        d_mlp=config.d_ff,
        n_buckets=config.relative_attention_num_buckets,
        max_distance=config.relative_attention_max_distance,
    )


def _names(network: T5Network) -> Iterator[tuple[str, str]]:
    """Our name of every weight, and transformers'."""
    for name in network.state_dict():
        if name == "unembed.weight":
            yield name, "shared.weight"
        elif name in _ELSEWHERE:
            yield name, _ELSEWHERE[name]
        else:
            yield name, _name_in_block(name)


def _name_in_block(name: str) -> str:
    found = _BLOCK.fullmatch(name)
    assert found, name
    stack, layer, part, matrix = found.groups()
    for place, (theirs, ours, norm) in enumerate(_ENCODER if stack == "encoder" else _DECODER):
        sublayer = f"{stack}.block.{layer}.layer.{place}"
        if part == norm:
            return f"{sublayer}.layer_norm.weight"
        if part == ours:
            return f"{sublayer}.{theirs}.{ {'into': 'wi', 'out': 'wo'}.get(matrix, matrix) }.weight"
    raise AssertionError(name)


def _require_same_shapes(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, value in wanted.items():
        there = given.get(name)
        if not name.endswith(".learned") and (there is None or there.shape != value.shape):
            raise Mismatch(
                f"{name} is {'not there' if there is None else list(there.shape)} and would have to be "
                f"{list(value.shape)}: only what has no weights of its own can be changed, such as attention and mlp."
            )
