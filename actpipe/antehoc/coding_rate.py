"""How compressed the tokens of a CRATE model are in its subspaces, and how sparse their codes, layer by layer.

    R(W) = ½ logdet(I + p/(m ε²) WᵀW)     of m tokens in one subspace, W [m, p] with rows of length 1

The sum over the subspaces is what attention lowers (the rate reduction's R^c; Yu et al. 2023, section 2.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from actpipe.antehoc.architecture import Network
from actpipe.antehoc.crate import SubspaceAttention
from actpipe.errors import Misuse

EPS = 0.1  # the precision at which tokens are coded; ε² = 0.01 in the authors' measurements


@dataclass(frozen=True)
class LayerRates:
    layer: int
    coding_rate: float  # in nats, mean over heads and sequences, of the tokens behind attention
    nonzero_share: float  # of the codes, over tokens and codes


def coding_rate(rows: Tensor, *, eps: float = EPS) -> Tensor:
    """R [...] in nats of `rows` [..., m, p]. Rows of zeros stay so and count among the m."""
    m, p = rows.shape[-2:]
    unit = F.normalize(rows.float() if rows.dtype != torch.float64 else rows, dim=-1)
    # WᵀW and WWᵀ have the same eigenvalues but for zeros; the smaller is the cheaper.
    gram = unit @ unit.mT if m < p else unit.mT @ unit
    eye = torch.eye(min(m, p), dtype=unit.dtype, device=unit.device)
    return torch.logdet(eye + p / (m * eps**2) * gram) / 2


def subspace_rate(stream: Tensor, attention: SubspaceAttention, *, eps: float = EPS) -> Tensor:
    """[B, heads] of the tokens of each sequence, `stream` [B, T, d] already normalised, in the subspaces of a layer."""
    w = rearrange(attention.qkv(stream), "b t (h c) -> b h t c", h=attention.n_heads)
    return coding_rate(w, eps=eps)


def nonzero_share(codes: Tensor) -> float:
    return codes.ne(0).float().mean().item()


@torch.no_grad()
def layer_rates(network: Network, input_ids: Tensor, *, eps: float = EPS) -> Sequence[LayerRates]:
    """Of every layer of a CRATE network that reads `input_ids` [B, T]."""
    blocks = network.get_submodule("blocks")
    if not all(isinstance(block.attn, SubspaceAttention) for block in blocks.children()):
        raise Misuse("The coding rate is of CRATE's subspaces; this network has none.")
    seen: dict[str, Tensor] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(partial(_keep, seen, name))
        for layer in range(len(list(blocks.children())))
        for name in (f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.mlp.hook_post")
    ]
    try:
        network.logits(input_ids)
    finally:
        for handle in handles:
            handle.remove()
    rates = []
    for layer, block in enumerate(blocks.children()):
        # The subspaces read the stream behind the attention's norm.
        stream = block.get_submodule("ln1")(seen[f"blocks.{layer}.hook_resid_mid"])
        rate = subspace_rate(stream, block.get_submodule("attn"), eps=eps).mean().item()  # type: ignore[arg-type]
        rates.append(LayerRates(layer, rate, nonzero_share(seen[f"blocks.{layer}.mlp.hook_post"])))
    return rates


def _keep(seen: dict[str, Tensor], name: str, module: nn.Module, args: tuple[Tensor, ...], value: Tensor) -> None:
    seen[name] = value
