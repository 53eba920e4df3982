"""Units that the model has by itself: every coordinate of the rows of a hook, split by sign where they are signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from actpipe.harvest.sites import Site
from actpipe.store import Store

from .unit_set import Path, UnitSet

if TYPE_CHECKING:
    from actpipe.harvest.model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class NativeUnits(UnitSet):
    """Neurons, codes, gates: coordinate i of the row is the activation of unit i.

    `written` [n, d_model] are the directions of the coordinates; `k` keeps the k largest contributions of each row (the
    control of neurons at the sparsity of a dictionary).
    """

    name: str
    kind: str
    hook: str
    writes: str
    written: Tensor
    signed: bool = False
    k: int | None = None
    path: Path = "clean"

    @property
    def feature(self) -> NDArray[np.int64]:  # type: ignore[override]
        each = np.arange(len(self.written))
        return np.concatenate([each, each]) if self.signed else each

    @property
    def sign(self) -> NDArray[np.int8]:  # type: ignore[override]
        n = len(self.written)
        return np.repeat(np.array([1, -1] if self.signed else [1], np.int8), n)

    @property
    def directions(self) -> Tensor:
        return torch.cat([self.written, -self.written]) if self.signed else self.written

    @property
    def source(self) -> Tensor:
        return self.written

    def codes(self, x: Tensor) -> Tensor:
        if self.k is not None and self.k < x.shape[1]:
            kept = (x.abs() * self.written.norm(dim=1)).topk(self.k, dim=1).indices
            x = torch.zeros_like(x).scatter(1, kept, x.gather(1, kept))
        return torch.cat([x.relu(), (-x).relu()], dim=1) if self.signed else x.relu()


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the coordinates of a hook write, and what they are called."""

    kind: str
    writes: str
    directions: Tensor  # [n, d_model]
    path: Path = "clean"


def written_by(model: LanguageModel | None, store: Store, hook: str) -> Written:
    """Of the coordinates of a hook of a store, `model` being the one that it was harvested from.

    A model of ours says it itself; the input of a matrix writes its columns; all else is a coordinate of the tensor,
    which writes itself.
    """
    itself = Written(kind="basis", writes=hook, directions=torch.eye(store.hooks[hook]))
    if model is None:
        return itself
    site = Site.recorded(hook, store.config["sites"][hook], store.hooks[hook])
    units = getattr(getattr(model.module, "network", None), "units", None)
    for each in () if units is None else units():
        if each.hook == site.hook:
            return Written(kind=each.kind, writes=each.writes, directions=_plain(each.directions), path=each.path)
    if site.side != "input" or site.through != "native":
        return itself
    entered = model.module.get_submodule(site.path)
    weight = getattr(entered, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        return itself
    # A Linear holds [out, in]; GPT-2's Conv1D holds [in, out].
    columns = weight.T if isinstance(entered, nn.Linear) else weight
    if len(columns) != site.width:
        return itself
    writes = site.hook.replace("mlp.hook_post", "hook_mlp_out")
    return Written(kind="neuron", writes=writes, directions=_plain(columns))


def _plain(directions: Tensor) -> Tensor:
    return directions.detach().float().cpu().clone()
