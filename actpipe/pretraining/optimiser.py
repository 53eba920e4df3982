"""AdamW and its learning rate, as language models are usually trained (nanoGPT; systems.md of CRATE-LM the same)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from .config import TrainLMConfig

BETAS = (0.9, 0.95)  # Brown et al. 2020, appendix B


@dataclass(frozen=True)
class Schedule:
    """The rate of step s of S, with W steps of warm-up and floor f:

    lr (s + 1) / W                                            s < W
    lr (f + (1 − f) (1 + cos π (s − W) / (S − W)) / 2)        else
    """

    steps: int
    lr: float
    warmup: int
    floor: float

    @classmethod
    def of(cls, config: TrainLMConfig, steps: int) -> Schedule:
        return cls(steps, config.lr, math.ceil(config.warmup * steps), config.lr_floor)

    def at(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.lr * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2)


def optimiser_for(network: nn.Module, config: TrainLMConfig) -> torch.optim.AdamW:
    """Gains and biases are not decayed: a small one is no simpler than a large one."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    # Fused: one pass over memory instead of ten; torch has it for CPUs and for GPUs.
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr, betas=BETAS, fused=True)
