"""T5 (Raffel et al. 2020) with any attention map and a dense or top-k MLP.

The original T5: ReLU, RMSNorm, relative positions in buckets, no 1/√d, one table of tokens for encoder, decoder and
head, logits of x/√d_model. With softmax and the dense MLP it is transformers' T5ForConditionalGeneration, weight by
weight (t5_checkpoint.py); dropout is left out, as in its later pretraining.

    attention   softmax, entmax, …    the map of all three kinds of attention (actpipe/antehoc/attention)
    mlp         dense, topk           so that {softmax, entmax} × {dense, topk} are four settings of one class
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from actpipe.antehoc.architecture import Architecture, Network
from actpipe.antehoc.attention import Normaliser, normaliser
from actpipe.antehoc.hook import Hook
from actpipe.antehoc.initialisation import DrawsItself, normal
from actpipe.antehoc.t5_attention import Attention, unseen_future, unseen_padding
from actpipe.antehoc.t5_blocks import MLP, DecoderBlock, EncoderBlock, RMSNorm, TopKMLP
from actpipe.antehoc.t5_positions import RelativePositions
from actpipe.antehoc.units import Kind, Units
from actpipe.errors import Misuse

Stack = Literal["encoder", "decoder"]
MLPS = ("dense", "topk", "statistical_topk")


@dataclass(frozen=True, kw_only=True)
class T5(Architecture):
    name = "t5"
    about = "T5 encoder-decoder: softmax or sparse attention, dense or top-k MLP"
    model_type = "actpipe-t5"

    n_decoder_layers: int = 0
    """0: as many as the encoder's `n_layers`."""
    d_head: int = 0
    """0: d_model / n_heads."""
    d_mlp: int = 512
    n_buckets: int = 32
    max_distance: int = 128
    attention: str = "softmax"
    """A map and its settings, such as `entmax` or `entmax:alpha=1.5,warmup=0.1`."""
    decoder_attention: str = ""
    """Of the decoder to itself; empty: `attention`."""
    cross_attention: str = ""
    """Of the decoder to the encoder; empty: `attention`."""
    mlp: str = "dense"
    k: int = 64
    """Neurons that a top-k MLP keeps."""
    k_warmup: float = 0.1
    """Share of training over which k falls from d_mlp."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mlp not in MLPS:
            raise Misuse(f"The MLP {self.mlp!r} of t5 is not known; use {', '.join(MLPS)}.")
        if self.mlp != "dense" and not 1 <= self.k <= self.d_mlp:
            raise Misuse(f"k of t5 must be from 1 to the {self.d_mlp} neurons there are, not {self.k}.")
        if not 0 <= self.k_warmup <= 1:
            raise Misuse(f"k_warmup of t5 is {self.k_warmup:g}; it is a share of training, from 0 to 1.")
        if min(self.n_decoder_layers, self.d_head) < 0 or self.d_mlp < 1:
            raise Misuse("n_decoder_layers and d_head of t5 are at least 0, and d_mlp at least 1.")
        if self.n_buckets < 4 or self.n_buckets % 4 or self.max_distance <= self.n_buckets:
            raise Misuse(f"n_buckets of t5 is a multiple of 4 below max_distance, not {self.n_buckets}.")
        for map_name in self.maps:
            normaliser(map_name)

    @property
    def maps(self) -> tuple[str, str, str]:
        """Of the encoder, of the decoder to itself, of the decoder to the encoder."""
        return self.attention, self.decoder_attention or self.attention, self.cross_attention or self.attention

    def network(self) -> T5Network:
        return T5Network(self)

    def attention_layer(self, chosen: Normaliser) -> Attention:
        d_head = self.d_head or self.d_model // self.n_heads
        return Attention(d_model=self.d_model, n_heads=self.n_heads, d_head=d_head, normaliser=chosen)

    def mlp_layer(self) -> MLP:
        if self.mlp == "dense":
            return MLP(d_model=self.d_model, d_mlp=self.d_mlp)
        exact = self.mlp == "topk"
        return TopKMLP(d_model=self.d_model, d_mlp=self.d_mlp, k=self.k, warmup=self.k_warmup, exact=exact)

    def positions(self, *, both_ways: bool) -> RelativePositions:
        return RelativePositions(
            n_buckets=self.n_buckets,
            max_distance=self.max_distance,
            n_heads=self.n_heads,
            d_model=self.d_model,
            both_ways=both_ways,
        )


class T5Network(Network):
    """Padding is `attention_mask` of the encoder; in the decoder it lies on the right, where no token sees it."""

    def __init__(self, architecture: T5) -> None:
        super().__init__()
        a = architecture
        encoder, decoder, cross = (normaliser(each) for each in a.maps)
        self.kind: Kind = "neuron" if a.mlp == "dense" else "topk_neuron"
        self.scale: float = a.d_model**-0.5
        self.embed = nn.Embedding(a.vocabulary, a.d_model)
        self.hook_embed = Hook()
        self.encoder_positions = a.positions(both_ways=True)
        self.encoder_blocks = nn.ModuleList(
            EncoderBlock(a.d_model, a.attention_layer(encoder), a.mlp_layer()) for _ in range(a.n_layers)
        )
        self.encoder_ln_final = RMSNorm(a.d_model)
        self.decoder_positions = a.positions(both_ways=False)
        self.decoder_blocks = nn.ModuleList(
            DecoderBlock(a.d_model, a.attention_layer(decoder), a.attention_layer(cross), a.mlp_layer())
            for _ in range(a.n_decoder_layers or a.n_layers)
        )
        self.decoder_ln_final = RMSNorm(a.d_model)
        self.unembed = nn.Linear(a.d_model, a.vocabulary, bias=False)
        self.unembed.weight = self.embed.weight

    def initialise(self, generator: torch.Generator) -> None:
        normal(self.embed.weight, 1.0, generator)
        for module in self.modules():
            if isinstance(module, DrawsItself):
                module.draw(generator)

    def logits(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, decoder_input_ids: Tensor | None = None
    ) -> Tensor:
        if decoder_input_ids is None:
            raise Misuse("T5 answers about decoder_input_ids, and none were given; they open with the padding token.")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        unseen = unseen_padding(mask, self.embed.weight.dtype)
        found: Tensor = self.unembed(self.decode(decoder_input_ids, self.encode(input_ids, unseen), unseen))
        return found

    def encode(self, input_ids: Tensor, unseen: Tensor) -> Tensor:
        """[B, S] → [B, S, d_model]; `unseen` [B, 1, 1, S] is −inf at padding."""
        bias = self.encoder_positions(input_ids.shape[1], input_ids.shape[1]) + unseen
        x = self.hook_embed(self.embed(input_ids))
        for block in self.encoder_blocks:
            x = block(x, bias)
        encoded: Tensor = self.encoder_ln_final(x)
        return encoded

    def decode(self, decoder_input_ids: Tensor, encoded: Tensor, unseen: Tensor) -> Tensor:
        """[B, T] → [B, T, d_model], what the head is given."""
        length = decoder_input_ids.shape[1]
        future = unseen_future(length, dtype=encoded.dtype, device=encoded.device)
        bias = self.decoder_positions(length, length) + future
        x = self.hook_embed(self.embed(decoder_input_ids))
        for block in self.decoder_blocks:
            x = block(x, encoded, bias, unseen)
        decoded: Tensor = self.decoder_ln_final(x)
        return self.scale * decoded

    def at(self, fraction: float) -> None:
        for module in self.modules():
            if isinstance(module, Attention | MLP):
                module.at(fraction)

    def units(self) -> tuple[Units, ...]:
        """Neurons of both stacks; channels of the heads too where k winners take all among them."""
        found: list[Units] = []
        for path, module in self.named_modules():
            block, _, part = path.rpartition(".")
            if isinstance(module, Attention) and module.trained.name == "kwta":
                writes = "hook_cross_attn_out" if part == "cross_attn" else "hook_attn_out"
                found.append(Units("kwta_neuron", f"{path}.hook_z", f"{block}.{writes}", module.o.weight.T))
            elif isinstance(module, MLP):
                found.append(Units(self.kind, f"{path}.hook_post", f"{block}.hook_mlp_out", module.out.weight.T))
        return tuple(found)
