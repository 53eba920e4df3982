"""M dictionaries trained on the same batches as one: parameters stacked on axis 0, one step for all.

A step is `vmap(grad(loss))` over the stack and a stacked Adam; it equals M separate runs of `torch.optim.Adam`
(tests/test_sae_ensemble.py). Members differ in seed, learning rate, clip norm, width and the swept fields of the
architecture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .adam import StackedAdam, clipped, gradient_norms
from .architecture import Aux, Params, Size, Trained
from .coder import Dense
from .dead import dead_share, idle_after
from .dictionary import Dictionary
from .gradients import Given, gradients
from .member import Member
from .scaling import Scaling
from .schedules import Schedule
from .stacks import Shapes, corner, corners, runs, stacked
from .step_report import StepReport
from .unit_rows import normalised, projected

# Above this many codes a member (B · n) a CPU is faster one member at a time, because a member's codes stay in its
# caches and matrix products need no batching; below it, one vmap saves the overhead of M calls. Measured on two cores.
CODES_AT_ONCE_ON_CPU = 2**19


@dataclass(kw_only=True)
class Ensemble:
    """The whole state of training; `sae.checkpoint` saves exactly these fields. M members, n features, rows [B, d]."""

    architecture: Trained
    members: tuple[Member, ...]
    size: Size  # of the widest member
    schedule: Schedule
    params: Params  # each [M, ...]; narrower members are padded with zeros
    adam: StackedAdam
    idle: Tensor  # [M, n] int64, rows since the feature fired
    frozen: Tensor  # [M] bool, members that met a loss or gradient that is not finite
    dead_after: int  # rows without firing after which a feature counts as dead
    steps: int = 0  # steps made
    rows: int = 0  # rows seen

    @classmethod
    def create(
        cls,
        architecture: Trained,
        members: Sequence[Mapping[str, float]],
        *,
        d: int,
        width: int,
        out: int | None = None,
        sample: Tensor | None = None,
        share: float = 0.02,
        schedule: Schedule | None = None,
        dead_after: int = 1_000_000,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Ensemble:
        """Fresh members, one for each mapping of "seed", "lr", "clip", "width" and swept fields.

        `width` is for members that set none. `sample` [N, d]: rows in training units; with it each feature first fires
        on `share` of them.
        """
        settled = tuple(Member.of(architecture, m, width=width) for m in members)
        size = _checked_size(architecture, settled, d, out, sample)
        rows = None if sample is None else sample.detach().to("cpu", torch.float32)
        fresh = [
            architecture.init(
                Size(d, m.width, size.out),
                m.hyper,
                torch.Generator().manual_seed(m.seed),
                sample=rows,
                share=share,
            )
            for m in settled
        ]
        stack = stacked(fresh, architecture.shapes(size))
        params = {name: p.to(device, dtype) for name, p in stack.items()}
        return cls(
            architecture=architecture,
            members=settled,
            size=size,
            schedule=schedule or Schedule(),
            params=params,
            adam=StackedAdam.zeros({name: p for name, p in params.items() if name not in architecture.buffers}),
            idle=torch.zeros(len(settled), size.n, dtype=torch.int64, device=device),
            frozen=torch.zeros(len(settled), dtype=torch.bool, device=device),
            dead_after=dead_after,
        )

    def __len__(self) -> int:
        return len(self.members)

    @property
    def width(self) -> int:
        """Of the widest member."""
        return self.size.n

    @property
    def d(self) -> int:
        return self.size.d

    @property
    def out(self) -> int:
        return self.size.out

    @property
    def device(self) -> torch.device:
        return self.idle.device

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.params.values())).dtype

    def step(self, x: Tensor, target: Tensor | None = None) -> StepReport:
        """Move every member by the gradient on the rows `x` [B, d], in training units.

        `target` [B, out] for transcoders alone: the rows to predict.
        """
        x, target = self._batch(x, target)
        lr_factor = self.schedule.lr_factor(self.steps)
        sparsity_factor = self.schedule.sparsity_factor(self.steps)
        groups = [self._step_group(members, x, target) for members in self._groups(len(x))]
        self.steps += 1
        self.rows += len(x)
        whole = {name: torch.cat([group[name] for group in groups]) for name in groups[0]}
        loss = whole.pop("loss")
        error = whole.get("reconstruction", torch.full_like(loss, math.nan))
        return StepReport(
            step=self.steps,
            rows=self.rows,
            lr_factor=lr_factor,
            sparsity_factor=sparsity_factor,
            loss=loss,
            grad_norm=whole.pop("grad_norm"),
            l0=whole.pop("l0"),
            fvu=error / (target - target.mean(0)).square().sum().div(len(x)),
            dead=torch.cat([dead_share(self._idle(range(i, i + 1)), self.dead_after) for i in range(len(self))]),
            frozen=self.frozen.clone(),
            parts=whole,
        )

    def dictionary(
        self,
        member: int,
        *,
        scaling: Scaling | None = None,
        target: Scaling | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Dictionary:
        """One member in inference form and model units; `config` is provenance to keep with it.

        `target` is the scaling of what a transcoder predicts.
        """
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
            self.params_of(member),
            hyper=settings.hyper,
            scaling=scaling or Scaling.identity(self.d),
            target=target or (Scaling.identity(self.out) if self.architecture.reads == "pair" else None),
            config={**(config or {}), "training": training},
        )

    def params_of(self, member: int) -> Params:
        """A copy of the parameters of one member, in training units and without padding."""
        views = corners(self.params, self._shapes(member), range(member, member + 1))
        return {name: p[0].clone() for name, p in views.items()}

    def _batch(self, x: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
        if x.ndim != 2 or x.shape[1] != self.d or len(x) == 0:
            raise ValueError(f"a batch must be rows [B, {self.d}], not a tensor of shape {list(x.shape)}")
        x = x.detach().to(self.device, self.dtype)
        if (target is not None) != (self.architecture.reads == "pair"):
            raise ValueError(
                f"architecture {self.architecture.name!r} predicts "
                + ("other rows; give them as the target" if target is None else "its own rows and takes no target")
            )
        if target is None:
            return x, x
        if target.shape != (len(x), self.out):
            raise ValueError(f"the target must be rows [{len(x)}, {self.out}], not of shape {list(target.shape)}")
        return x, target.detach().to(self.device, self.dtype)

    def _shapes(self, member: int) -> Shapes:
        """Of the parameters of one member, without padding."""
        return self.architecture.shapes(Size(self.d, self.members[member].width, self.out))

    def _idle(self, members: range) -> Tensor:
        """A view [members, width] of neighbours of one width."""
        return corner(self.idle, (self.members[members[0]].width,), members)

    def _groups(self, n_rows: int) -> list[range]:
        """Neighbours of one width that are stepped together."""
        one_by_one = self.device.type == "cpu" and n_rows * self.width > CODES_AT_ONCE_ON_CPU
        return runs([m.width for m in self.members], longest=1 if one_by_one else len(self))

    def _step_group(self, members: range, x: Tensor, target: Tensor) -> Aux:
        """Step neighbours of one width; return what there is to report, each [len(members)]."""
        first, last = members[0], members[-1] + 1
        params = corners(self.params, self._shapes(first), members)
        idle = self._idle(members)
        given = Given(
            x=x, target=target, dead=idle >= self.dead_after, hyper=self._hyper(members), progress=self._progress()
        )
        grads, loss, aux = gradients(self.architecture, params, given, Dense())
        n_fired, buffers = aux.pop("firings"), aux.pop("buffers", {})
        grads.update(projected(grads, params, self.architecture.unit_rows))
        norms = gradient_norms(grads)
        frozen = self.frozen[first:last].logical_or_(~(torch.isfinite(loss) & torch.isfinite(norms)))
        limits = [m.clip for m in self.members[first:last]]
        if min(limits) < math.inf:
            grads = clipped(grads, norms, torch.tensor(limits, dtype=norms.dtype, device=norms.device))
        lr = [m.lr * self.schedule.lr_factor(self.steps) for m in self.members]
        self.adam.step(params, grads, members=members, lr=lr, skip=self.frozen)
        changed = {**normalised(params, self.architecture.unit_rows), **buffers}
        for name, new in changed.items():
            params[name].copy_(_unless(frozen, params[name], new))
        idle.copy_(_unless(frozen, idle, idle_after(idle, n_fired, len(x))))
        return {"loss": loss, "grad_norm": norms, "l0": n_fired.sum(1).to(loss) / len(x), **aux}

    def _progress(self) -> Tensor:
        """The share of training done; 0 for a training without an end."""
        done = self.steps / self.schedule.steps if self.schedule.steps else 0.0
        return torch.tensor(min(1.0, done), dtype=self.dtype, device=self.device)

    def _hyper(self, members: range) -> dict[str, Tensor]:
        """The swept fields [len(members)], penalties already multiplied by the warm-up."""
        factor = dict.fromkeys(self.architecture.penalties, self.schedule.sparsity_factor(self.steps))
        return {
            name: torch.tensor(
                [self.members[m].hyper[name] * factor.get(name, 1.0) for m in members],
                dtype=self.dtype,
                device=self.device,
            )
            for name in self.architecture.swept
        }


def _unless(frozen: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """`new` [members, ...], and `old` for members that are frozen."""
    return torch.where(frozen.view(-1, *[1] * (old.ndim - 1)), old, new)


def _checked_size(
    architecture: Trained, members: Sequence[Member], d: int, out: int | None, sample: Tensor | None
) -> Size:
    """The size of the widest member, after every member has been found possible."""
    if not members:
        raise ValueError("an ensemble needs at least one member")
    if d < 1 or (out is not None and out < 1):
        raise ValueError(f"rows need a width of at least 1, not d = {d} and out = {out}")
    if out is not None and out != d and architecture.reads != "pair":
        raise ValueError(f"architecture {architecture.name!r} predicts its own rows; out must be d = {d}, not {out}")
    if sample is not None and (sample.ndim != 2 or sample.shape[1] != d):
        raise ValueError(f"the sample must be rows [N, {d}], not a tensor of shape {list(sample.shape)}")
    for member in members:
        architecture.check(Size.of(d, member.width, out), member.hyper)
    return Size.of(d, max(m.width for m in members), out)
