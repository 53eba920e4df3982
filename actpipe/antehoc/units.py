"""Which tensors of a network are its sparse units, and what each of them writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["neuron", "topk_neuron", "crate_code", "kwta_neuron", "kwta_gate", "topk_residual", "expert"]
Path = Literal["clean", "ablated"]


@dataclass(frozen=True)
class Units:
    """Units of one kind at one place. Their values are the rows of `hook` [rows, n]; a unit contributes its value times
    its row of `directions` [n, d_model] to the tensor at the hook `writes`."""

    kind: Kind
    hook: str
    writes: str
    directions: Tensor
    path: Path = "clean"  # a self-ablating model has two streams of values through the same weights

    def __post_init__(self) -> None:
        if self.directions.ndim != 2:
            raise ValueError(f"directions of {self.hook} are {tuple(self.directions.shape)}; they are [n, d_model]")
