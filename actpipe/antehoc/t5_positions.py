"""How far a key lies from a query, as T5 sees it: in buckets, exact near by and logarithmic far away."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from actpipe.antehoc.initialisation import normal


class RelativePositions(nn.Module):
    """A learned number for each bucket and head, added to the logits of every self-attention of one stack.

    Half of the buckets are single distances, the others widen up to `max_distance`; beyond, all distances are one.
    An encoder looks both ways and gives each way half of the buckets; a decoder looks back.
    """

    def __init__(self, *, n_buckets: int, max_distance: int, n_heads: int, d_model: int, both_ways: bool) -> None:
        super().__init__()
        self.d_model = d_model  # only the scale of the first values
        self.table = nn.Embedding(n_buckets, n_heads)
        self.n_buckets, self.max_distance, self.both_ways = n_buckets, max_distance, both_ways

    def forward(self, n_queries: int, n_keys: int) -> Tensor:
        """[1, head, query, key]."""
        places = torch.arange(max(n_queries, n_keys), device=self.table.weight.device)
        ahead = places[None, :n_keys] - places[:n_queries, None]
        bias: Tensor = self.table(self.buckets(ahead))
        return bias.permute(2, 0, 1)[None]

    def buckets(self, ahead: Tensor) -> Tensor:
        """Places by which the key is ahead of the query → number of the bucket."""
        n = self.n_buckets // 2 if self.both_ways else self.n_buckets
        distance = ahead.abs() if self.both_ways else (-ahead).clamp(min=0)
        exact = n // 2
        # The order of operations is transformers': another one puts some distances into the next bucket.
        far = torch.log(distance.float() / exact) / math.log(self.max_distance / exact) * (n - exact)
        logarithmic = (exact + far.long()).clamp(max=n - 1)
        bucket = torch.where(distance < exact, distance, logarithmic)
        return bucket + n * (ahead > 0) if self.both_ways else bucket

    def draw(self, generator: torch.Generator) -> None:
        normal(self.table.weight, self.d_model**-0.5, generator)
