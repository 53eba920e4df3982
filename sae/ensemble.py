"""M dictionaries trained on the same batches as one: parameters stacked on axis 0, one step for all.

A step is `vmap(grad(loss))` over the stack and a stacked Adam; it equals M separate runs of `torch.optim.Adam`
(tests/test_sae_ensemble.py). Members differ in seed, learning rate, clip norm and the swept fields of the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from .adam import StackedAdam, clipped, gradient_norms
from .architecture import RESERVED, Architecture, Aux, Params
from .dead import dead_share, firings, idle_after
from .dictionary import Dictionary
from .scaling import Scaling
from .schedules import Schedule
from .step_report import StepReport

# Above this many codes a member (B · n) a CPU is faster one member at a time, because a member's codes stay in its
# caches and matrix products need no batching; below it, one vmap saves the overhead of M calls. Measured on two cores.
CODES_AT_ONCE_ON_CPU = 2**19


@dataclass(frozen=True, kw_only=True)
class Member:
    """What makes one member differ from the others."""

    seed: int = 0
    lr: float = 1e-3
    clip: float = math.inf  # largest norm of a gradient
    hyper: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"a learning rate must be positive and finite, not {self.lr}")
        if not self.clip > 0:
            raise ValueError(f"a clip norm must be positive, not {self.clip}")
        for name, value in self.hyper.items():
            if not math.isfinite(value):
                raise ValueError(f"the hyperparameter {name} must be finite, not {value}")

    @classmethod
    def of(cls, architecture: Architecture, settings: Mapping[str, float]) -> Member:
        own = {name: value for name, value in settings.items() if name in RESERVED}
        hyper = architecture.hyper({name: value for name, value in settings.items() if name not in RESERVED})
        return cls(
            seed=int(own.get("seed", cls.seed)),
            lr=float(own.get("lr", cls.lr)),
            clip=float(own.get("clip", cls.clip)),
            hyper=hyper,
        )


@dataclass(kw_only=True)
class Ensemble:
    """The whole state of training; `sae.checkpoint` saves exactly these fields. M members, n features, rows [B, d]."""

    architecture: Architecture
    members: tuple[Member, ...]
    schedule: Schedule
    params: Params  # each [M, ...]
    adam: StackedAdam
    idle: Tensor  # [M, n] int64, rows since the feature fired
    frozen: Tensor  # [M] bool, members that met a loss or gradient that is not finite
    dead_after: int  # rows without firing after which a feature counts as dead
    steps: int = 0  # steps made
    rows: int = 0  # rows seen

    @classmethod
    def create(
        cls,
        architecture: Architecture,
        members: Sequence[Mapping[str, float]],
        *,
        d: int,
        width: int,
        sample: Tensor | None = None,
        share: float = 0.02,
        schedule: Schedule | None = None,
        dead_after: int = 1_000_000,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Ensemble:
        """Fresh members, one for each mapping of "seed", "lr", "clip" and swept fields (missing ones get defaults).

        `sample` [N, d]: rows in training units; with it each feature first fires on `share` of them.
        """
        _check_sizes(len(members), d, width, sample)
        settled = tuple(Member.of(architecture, m) for m in members)
        rows = None if sample is None else sample.detach().to("cpu", torch.float32)
        fresh = [
            architecture.init(
                d=d, width=width, generator=torch.Generator().manual_seed(m.seed), sample=rows, share=share
            )
            for m in settled
        ]
        params = {name: torch.stack([p[name] for p in fresh]).to(device, dtype) for name in fresh[0]}
        return cls(
            architecture=architecture,
            members=settled,
            schedule=schedule or Schedule(),
            params=params,
            adam=StackedAdam.zeros(params),
            idle=torch.zeros(len(settled), width, dtype=torch.int64, device=device),
            frozen=torch.zeros(len(settled), dtype=torch.bool, device=device),
            dead_after=dead_after,
        )

    def __len__(self) -> int:
        return len(self.members)

    @property
    def width(self) -> int:
        return self.idle.shape[1]

    @property
    def d(self) -> int:
        return self.architecture.directions(self._member(0)).shape[1]

    @property
    def device(self) -> torch.device:
        return self.idle.device

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.params.values())).dtype

    def step(self, x: Tensor) -> StepReport:
        """Move every member by the gradient on the rows `x` [B, d], in training units."""
        if x.ndim != 2 or x.shape[1] != self.d or len(x) == 0:
            raise ValueError(f"a batch must be rows [B, {self.d}], not a tensor of shape {list(x.shape)}")
        x = x.detach().to(self.device, self.dtype)
        lr_factor = self.schedule.lr_factor(self.steps)
        sparsity_factor = self.schedule.sparsity_factor(self.steps)
        groups = [self._step_group(members, x, lr_factor, sparsity_factor) for members in self._groups(len(x))]
        self.steps += 1
        self.rows += len(x)
        whole = {name: torch.cat([group[name] for group in groups]) for name in groups[0]}
        return StepReport(
            step=self.steps,
            rows=self.rows,
            lr_factor=lr_factor,
            sparsity_factor=sparsity_factor,
            loss=whole.pop("loss"),
            grad_norm=whole.pop("grad_norm"),
            l0=whole.pop("l0"),
            dead=dead_share(self.idle, self.dead_after),
            frozen=self.frozen.clone(),
            parts=whole,
        )

    def dictionary(
        self, member: int, *, scaling: Scaling | None = None, config: Mapping[str, Any] | None = None
    ) -> Dictionary:
        """One member in inference form and model units; `config` is provenance to keep with it."""
        settings = self.members[member]
        training = {
            "seed": settings.seed,
            "lr": settings.lr,
            "clip": settings.clip if math.isfinite(settings.clip) else None,
            "steps": int(self.adam.steps[member]),
            "rows": self.rows,
        }
        return Dictionary.trained(
            self.architecture,
            {name: p.clone() for name, p in self._member(member).items()},
            hyper=settings.hyper,
            scaling=scaling or Scaling.identity(self.d),
            config={**(config or {}), "training": training},
        )

    def _member(self, member: int) -> Params:
        return {name: p[member] for name, p in self.params.items()}

    def _groups(self, n_rows: int) -> Iterator[range]:
        one_by_one = self.device.type == "cpu" and n_rows * self.width > CODES_AT_ONCE_ON_CPU
        size = 1 if one_by_one else len(self)
        for first in range(0, len(self), size):
            yield range(first, min(first + size, len(self)))

    def _step_group(self, members: range, x: Tensor, lr_factor: float, sparsity_factor: float) -> Aux:
        """Step some neighbouring members; return what there is to report, each [len(members)]."""
        first, last = members[0], members[-1] + 1
        grads, loss, aux = self._gradients(members, x, sparsity_factor)
        n_fired = firings(aux.pop("codes"))
        norms = gradient_norms(grads)
        frozen = self.frozen[first:last].logical_or_(~(torch.isfinite(loss) & torch.isfinite(norms)))
        limits = [m.clip for m in self.members[first:last]]
        if min(limits) < math.inf:
            grads = clipped(grads, norms, torch.tensor(limits, dtype=norms.dtype, device=norms.device))
        lr = [m.lr * lr_factor for m in self.members]
        self.adam.step(self.params, grads, members=members, lr=lr, skip=self.frozen)
        idle = idle_after(self.idle[first:last], n_fired, len(x))
        self.idle[first:last] = torch.where(frozen[:, None], self.idle[first:last], idle)
        return {"loss": loss, "grad_norm": norms, "l0": n_fired.sum(1) / len(x), **aux}

    def _gradients(self, members: range, x: Tensor, sparsity_factor: float) -> tuple[Params, Tensor, Aux]:
        """Gradients, losses and aux of neighbouring members, each with them on axis 0; no second forward pass."""
        first, last = members[0], members[-1] + 1
        params = {name: p[first:last] for name, p in self.params.items()}
        hyper = self._hyper(members, sparsity_factor)
        gradient = grad_and_value(self.architecture.loss, has_aux=True)
        if len(members) > 1:
            grads, (loss, aux) = vmap(gradient, in_dims=(0, None, 0))(params, x, hyper)
            return grads, loss, aux
        # The same function of the only member, without the batched matrix products that vmap would make of its own.
        grads, (loss, aux) = gradient(
            {name: p[0] for name, p in params.items()}, x, {name: h[0] for name, h in hyper.items()}
        )
        return {name: g[None] for name, g in grads.items()}, loss[None], {name: a[None] for name, a in aux.items()}

    def _hyper(self, members: range, sparsity_factor: float) -> dict[str, Tensor]:
        """The swept fields [len(members)], penalties already multiplied by the warm-up."""
        factor = dict.fromkeys(self.architecture.penalties, sparsity_factor)
        return {
            name: torch.tensor(
                [self.members[m].hyper[name] * factor.get(name, 1.0) for m in members],
                dtype=self.dtype,
                device=self.device,
            )
            for name in self.architecture.swept
        }


def _check_sizes(n_members: int, d: int, width: int, sample: Tensor | None) -> None:
    if n_members < 1:
        raise ValueError("an ensemble needs at least one member")
    if d < 1 or width < 1:
        raise ValueError(f"a dictionary needs d ≥ 1 and width ≥ 1, not d = {d} and width = {width}")
    if sample is not None and (sample.ndim != 2 or sample.shape[1] != d):
        raise ValueError(f"the sample must be rows [N, {d}], not a tensor of shape {list(sample.shape)}")
