"""The self-ablating transformer: it learns to predict well with all but k neurons and k channels a layer switched off.

Ferrao, Mikaelson, Pepper, Perez-Campanero Antolin 2025 (arXiv 2505.00509). A gate chooses, for every token, which
units stay; a second stream goes through the same weights with the others at zero (`ablated_block.py`). Once trained,
the gate is dropped and the clean stream is a plain GPT.

    loss = λ_c CE(clean) + λ_a CE(ablated) + λ_r mean over L + 1 places of MSE(xᶜ/‖xᶜ‖, xᵃ/‖xᵃ‖)

The places are the stream behind every block and what the final norm makes of the last.
Shapes: B sequences, T positions, L blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actpipe.antehoc.ablated_block import AblatableAttention, AblatableBlock, Gate, History, is_looked_at
from actpipe.antehoc.architecture import Architecture, Batch, cross_entropy
from actpipe.antehoc.decoder import MLP, Decoder
from actpipe.antehoc.gpt import ACTIVATIONS, GPT
from actpipe.antehoc.initialisation import initialise
from actpipe.antehoc.units import Units
from actpipe.errors import Misuse

SCOPES = ("local", "global")


@dataclass(frozen=True, kw_only=True)
class SelfAblating(Architecture):
    """Loss weights are the defaults of the authors' configuration; those of their published runs are not known.

    Theirs is a GPT-Neo: q·k not divided by √w, no bias in q, k, v, the tanh form of GELU. Ours by default is `gpt`, so
    that there is a dense twin; `scaled` false gives their scores.
    """

    name = "self-ablating"
    about = "GPT-2 that also predicts with all but k neurons and channels a layer switched off by a gate of its own"

    d_mlp: int = 512
    activation: str = "gelu"
    scope: str = "local"  # the gate reads the stream before its block, or the end of a clean pass (global)
    k_attention: int = 8  # of d_model channels a layer
    k_neurons: int = 8  # of d_mlp neurons a layer
    lambda_clean: float = 1.0
    lambda_ablated: float = 0.1
    lambda_reconstruction: float = 0.1
    scaled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise Misuse(f"The activation {self.activation!r} is not known; use {' or '.join(ACTIVATIONS)}.")
        if self.scope not in SCOPES:
            raise Misuse(f"The scope {self.scope!r} is not known; use {' or '.join(SCOPES)}.")
        for field, n in (("k_attention", self.d_model), ("k_neurons", self.d_mlp)):
            if not 1 <= getattr(self, field) <= n:
                raise Misuse(f"{field} is {getattr(self, field)}; it is from 1 to the {n} units of a layer.")
        for field in ("lambda_clean", "lambda_ablated", "lambda_reconstruction"):
            if not 0 <= getattr(self, field) < math.inf:
                raise Misuse(f"{field} is {getattr(self, field)}; a weight of the loss is at least 0.")

    def network(self) -> SelfAblatingNetwork:
        return SelfAblatingNetwork(self)


class CleanPass(NamedTuple):
    start: Tensor  # [B, T, d_model], where both streams begin
    histories: list[History]  # one a block
    end: Tensor  # [B, T, d_model] after the last block
    normed: Tensor  # [B, T, d_model] LN end

    @property
    def streams(self) -> list[Tensor]:
        """The L + 1 places of the reconstruction loss."""
        return [*(history.before for history in self.histories[1:]), self.end, self.normed]


class SelfAblatingNetwork(Decoder):
    """A decoder with gates. Its clean weights, drawn from a seed, are those of `gpt` with that seed."""

    def __init__(self, architecture: SelfAblating) -> None:
        a = self.architecture = architecture

        def block(layer: int) -> AblatableBlock:
            attn = AblatableAttention(a.d_model, a.n_heads, scale=None if a.scaled else 1.0)
            mlp = MLP(a.d_model, a.d_mlp, ACTIVATIONS[a.activation])
            return AblatableBlock(attn, mlp, a.d_model, k_attention=a.k_attention, k_neurons=a.k_neurons)

        super().__init__(a, block)
        self.gates = nn.ModuleList(Gate(a.d_model, a.d_mlp) for _ in range(a.n_layers))

    def initialise(self, generator: torch.Generator) -> None:
        super().initialise(generator)
        initialise(self.gates, depth=self.n_layers, generator=generator)

    def logits(self, input_ids: Tensor) -> Tensor:
        """Of the clean stream. The other is computed only while somebody has a hook in it."""
        clean = self.clean_pass(input_ids)
        if is_looked_at(self.gates) or any(is_looked_at(block.ablated) for block in self._blocks):
            self.ablated_pass(clean)
        found: Tensor = self.unembed(clean.normed)
        return found

    def clean_pass(self, input_ids: Tensor) -> CleanPass:
        start = x = self.stream(input_ids)
        histories = []
        for block in self.blocks:
            x, history = block(x)
            histories.append(history)
        return CleanPass(start, histories, x, self.ln_final(x))

    def ablated_pass(self, clean: CleanPass) -> list[Tensor]:
        """The ablated stream at the L + 1 places of the reconstruction loss; the last is what is unembedded.

        The global gates read the end of the same clean pass: nothing is computed twice.
        """
        x, streams = clean.start, []
        for block, gate, history in zip(self._blocks, self.gates, clean.histories, strict=True):
            scores = gate(history.before if self.architecture.scope == "local" else clean.normed)
            x = block.ablate(x, history, scores)
            streams.append(x)
        return [*streams, self.ln_final.forward(x)]

    def ablated_logits(self, input_ids: Tensor) -> Tensor:
        """[B, T, V]: at each position as if it alone were ablated."""
        return self.unembed.forward(self.ablated_pass(self.clean_pass(input_ids))[-1])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        a, labels = self.architecture, batch["labels"]
        clean = self.clean_pass(batch["input_ids"])
        ablated = self.ablated_pass(clean)
        ce = cross_entropy(self.unembed(clean.normed), labels)
        ce_ablated = cross_entropy(self.unembed.forward(ablated[-1]), labels)
        apart = reconstruction(clean.streams, ablated)
        loss = a.lambda_clean * ce + a.lambda_ablated * ce_ablated + a.lambda_reconstruction * apart
        return {"loss": loss, "ce": ce, "ce_ablated": ce_ablated, "reconstruction": apart}

    def units(self) -> tuple[Units, ...]:
        """Of each kind in turn: the clean neurons, the ones that the ablated stream keeps, the gates' scores for them.

        A score decides whether its neuron counts and adds nothing itself; its direction is that of the neuron.
        """
        neurons = super().units()
        kept = ((f"blocks.{layer}.ablated", each.directions) for layer, each in enumerate(neurons))
        ablated = [
            (
                Units("kwta_neuron", f"{at}.mlp.hook_post", f"{at}.hook_mlp_out", directions, "ablated"),
                Units("kwta_gate", f"{at}.mlp.hook_gate", f"{at}.hook_mlp_out", directions, "ablated"),
            )
            for at, directions in kept
        ]
        return (*neurons, *(each[0] for each in ablated), *(each[1] for each in ablated))

    def training_only(self) -> tuple[nn.Module, ...]:
        return (self.gates,)

    @property
    def _blocks(self) -> Sequence[AblatableBlock]:
        return cast("Sequence[AblatableBlock]", self.blocks)


def reconstruction(clean: Sequence[Tensor], ablated: Sequence[Tensor]) -> Tensor:
    """Mean over places of MSE(xᶜ/‖xᶜ‖, xᵃ/‖xᵃ‖), which of unit vectors in d dimensions is 2 (1 − cos) / d."""
    pairs = zip(clean, ablated, strict=True)
    apart = [2 * (1 - F.cosine_similarity(x.float(), y.float(), dim=-1)).mean() / x.shape[-1] for x, y in pairs]
    return torch.stack(apart).mean()


class LiveShare(NamedTuple):
    """Of each layer, the share of units that won at least once."""

    channels: list[float]
    neurons: list[float]


def live_share(network: SelfAblatingNetwork, batches: Iterable[Tensor]) -> LiveShare:
    """Over all tokens of `batches` of input_ids [B, T]; units that never win are never trained to work alone."""
    ever: dict[str, Tensor] = {}

    def note(name: str, mask: Tensor) -> None:
        won = mask.flatten(0, -2).any(0)
        ever[name] = ever[name] | won if name in ever else won

    names = [f"blocks.{n}.ablated.{part}.hook_mask" for part in ("attn", "mlp") for n in range(network.n_layers)]
    handles = [
        network.get_submodule(name).register_forward_hook(lambda _, __, mask, name=name: note(name, mask))
        for name in names
    ]
    try:
        with torch.no_grad():
            for input_ids in batches:
                network.logits(input_ids)
    finally:
        for handle in handles:
            handle.remove()
    shares = [ever[name].float().mean().item() for name in names]
    return LiveShare(shares[: network.n_layers], shares[network.n_layers :])


def plain(network: SelfAblatingNetwork) -> Decoder:
    """The `gpt` network with the clean weights: the same logits and no gates.

    Where q·k is not scaled, √w is put into the weights of q, and logits are the same but for rounding.
    """
    a = network.architecture
    shared = {field: value for field, value in a.fields.items() if field in GPT.__dataclass_fields__}
    twin = GPT(**shared).network().to(next(network.parameters()))
    weights = network.state_dict()
    twin.load_state_dict({name: weights[name] for name in twin.state_dict()})
    if not a.scaled:
        with torch.no_grad():
            for block in cast("Sequence[AblatableBlock]", twin.blocks):
                for of_q in (block.attn.qkv.weight, block.attn.qkv.bias):
                    of_q[: a.d_model] *= math.sqrt(a.d_model // a.n_heads)
    return twin
