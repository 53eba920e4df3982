"""The exact state of a training as one safetensors file; continued from it, it gives the same bits.

Weights and buffers, both moments and the number of steps of every weight, and how far the training is. The reader's
position is the step: which text it reads is a function of seed and step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actpipe.errors import Misuse
from sae.files import check_dtypes, check_format, check_shapes, read_tensors, write_tensors

FORMAT, VERSION = "actpipe-lm-checkpoint", 1


@dataclass
class Position:
    """How far a training is."""

    step: int = 0
    seconds: float = 0.0  # over all sessions
    best_loss: float | None = None
    best_step: int | None = None


def save_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, position: Position, identity: str
) -> None:
    weights = dict(network.named_parameters())
    moved = {name: weight for name, weight in weights.items() if weight in optimiser.state}
    tensors = {
        **{f"weights.{name}": weight for name, weight in weights.items()},
        **{f"buffers.{name}": buffer for name, buffer in network.named_buffers()},
        **{f"mean.{name}": optimiser.state[weight]["exp_avg"] for name, weight in moved.items()},
        **{f"square.{name}": optimiser.state[weight]["exp_avg_sq"] for name, weight in moved.items()},
    }
    steps = {name: int(optimiser.state[weight]["step"]) for name, weight in moved.items()}
    header = {"format": FORMAT, "version": VERSION, "identity": identity, "position": asdict(position), "steps": steps}
    write_tensors(path, tensors, header)


def load_checkpoint(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, identity: str) -> Position:
    """Put the saved state into `network` and `optimiser`; where the training stood."""
    try:
        tensors, header = read_tensors(path)
        check_format(path, header, FORMAT, VERSION)
        if header["identity"] != identity:
            raise ValueError("it belongs to another training")
        weights = dict(network.named_parameters())
        expected = _expected(network, header["steps"])
        check_shapes(path, tensors, {name: tuple(tensor.shape) for name, tensor in expected.items()})
        check_dtypes(path, tensors, {name: tensor.dtype for name, tensor in expected.items()})
        with torch.no_grad():
            for name, tensor in (*weights.items(), *network.named_buffers()):
                tensor.copy_(tensors[f"weights.{name}" if name in weights else f"buffers.{name}"])
        for name, steps in header["steps"].items():
            optimiser.state[weights[name]] = _moments(weights[name], tensors, name, steps)
        return Position(**header["position"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misuse(
            f"The checkpoint {path} cannot be continued: {str(error).rstrip('.')}. "
            "Put the right file there, or start anew with --overwrite."
        ) from None


def _moments(weight: Tensor, tensors: Mapping[str, Tensor], name: str, steps: int) -> dict[str, Any]:
    return {
        "step": torch.tensor(float(steps), dtype=torch.float32, device=weight.device),  # as fused AdamW keeps it
        "exp_avg": tensors[f"mean.{name}"].to(weight.device),
        "exp_avg_sq": tensors[f"square.{name}"].to(weight.device),
    }


def _expected(network: nn.Module, moved: Mapping[str, int]) -> dict[str, Tensor]:
    """Tensors of the shapes and types that the file must hold."""
    weights = dict(network.named_parameters())
    return {
        **{f"weights.{name}": weight for name, weight in weights.items()},
        **{f"buffers.{name}": buffer for name, buffer in network.named_buffers()},
        **{f"{kind}.{name}": weights[name] for kind in ("mean", "square") for name in moved},
    }
