"""A trained model that reads noise: wherever a token stands it is given a vector drawn anew, so that no score of its
units can come from the text. The last of the controls of Heap et al. (2501.17727)."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .model import LanguageModel


def with_gaussian_inputs(model: LanguageModel, *, seed: int) -> LanguageModel:
    module: Any = copy.deepcopy(model.module)
    table = module.get_input_embeddings()
    noise = GaussianEmbedding(table, seed).to(table.weight.device)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child is table:
                setattr(parent, name, noise)
    return replace(model, module=module)


class GaussianEmbedding(nn.Embedding):
    """Independent of the tokens but in which sequence it is: sequences of the same tokens are given the same vectors,
    so that whoever computes a row a second time finds it again. [coordinate] has the mean and deviation of the table's.
    """

    def __init__(self, table: nn.Embedding, seed: int) -> None:
        super().__init__(table.num_embeddings, table.embedding_dim, table.padding_idx, _weight=table.weight)
        with torch.no_grad():
            rows = table(torch.arange(table.num_embeddings, device=table.weight.device)).float()
        # In the state, and with it in the fingerprint: the weights are those of the trained model.
        self.register_buffer("seed", torch.tensor([seed]))
        self.register_buffer("mean", rows.mean(dim=0))
        self.register_buffer("deviation", rows.std(dim=0))

    def forward(self, input: Tensor) -> Tensor:
        """[batch, context] → [batch, context, d]."""
        drawn = torch.stack([self._drawn(sequence) for sequence in input.cpu()]).to(input.device)
        found: Tensor = self.mean + self.deviation * drawn  # type: ignore[operator]
        return found.to(self.weight.dtype)

    def _drawn(self, sequence: Tensor) -> Tensor:
        key = f"{int(self.seed)} {sequence.tolist()}"  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:7]))
        return torch.randn(len(sequence), self.embedding_dim, generator=generator)
