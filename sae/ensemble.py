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

from .adam import BETAS, StackedAdam, clipped, gradient_norms
from .architecture import Aux, Params, Size, Trained
from .batches import check_batch
from .creation import checked_size, fresh
from .dead import dead_share, idle_after
from .dictionary import Dictionary
from .gradients import Given, gradients
from .grouping import CoderName, Group, Precision, check_choices, grouped, measured
from .member import Member, stacked_hyper
from .resampling import Resampling, check_resampling, drawn_rows, per_feature, restarted
from .scaling import Scaling
from .schedules import Schedule
from .stacks import Shapes, corner, corners
from .step_report import StepReport, gathered, names_of_parts
from .unit_rows import normalise, projected

# A CPU knows the density after every step; asking any other device waits for it, so there it is asked now and then.
DENSITY_EVERY = 16


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
    density: list[float]  # of each member's codes when last measured; it chooses the coder
    dead_after: int  # rows without firing after which a feature counts as dead
    resampling: Resampling | None = None
    coder: CoderName = "auto"
    precision: Precision = "float32"  # of matrix products; parameters and everything else stay in their dtype
    compiled: bool = False  # dense steps by torch.compile
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
        resampling: Resampling | None = None,
        coder: CoderName = "auto",
        precision: Precision = "float32",
        compiled: bool = False,
        betas: tuple[float, float] = BETAS,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Ensemble:
        """Fresh members, one for each mapping of "seed", "lr", "clip", "width" and swept fields.

        `width` is for members that set none. `sample` [N, d]: rows in training units; with it each feature first fires
        on `share` of them.
        """
        check_choices(coder, precision, dtype)
        if dead_after < 1:
            raise ValueError(f"a feature is dead after at least 1 row without firing, not {dead_after}")
        schedule = schedule or Schedule()
        if architecture.needs_an_end and not schedule.steps:
            raise ValueError(
                f"the loss of {architecture.name!r} changes with the share of training that is done, and this training "
                "has no end; give a schedule with steps, such as Schedule.over(steps)"
            )
        settled = tuple(Member.of(architecture, m, width=width) for m in members)
        size = checked_size(architecture, settled, d=d, out=out, sample=sample)
        if resampling is not None:
            check_resampling(architecture, size)
        stack = fresh(architecture, settled, size, sample=sample, share=share)
        params = {name: p.to(device, dtype) for name, p in stack.items()}
        return cls(
            architecture=architecture,
            members=settled,
            size=size,
            schedule=schedule,
            params=params,
            adam=StackedAdam.zeros(
                {name: p for name, p in params.items() if name not in architecture.buffers}, betas=betas
            ),
            idle=torch.zeros(len(settled), size.n, dtype=torch.int64, device=device),
            frozen=torch.zeros(len(settled), dtype=torch.bool, device=device),
            density=[1.0] * len(settled),  # nothing is known yet
            dead_after=dead_after,
            resampling=resampling,
            coder=coder,
            precision=precision,
            compiled=compiled,
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
        check_batch(self.architecture, self.size, x, target)
        x = x.detach().to(self.device, self.dtype)
        target = x if target is None else target.detach().to(self.device, self.dtype)
        lr_factor = self.schedule.lr_factor(self.steps)
        sparsity_factor = self.schedule.sparsity_factor(self.steps)
        groups = grouped(
            self.members,
            self.density,
            n_rows=len(x),
            d=self.d,
            device=self.device,
            coder=self.coder,
            precision=self.precision,
        )
        parts = [{} if self._rests(group) else self._step_group(group, x, target) for group in groups]
        names = () if any(parts) else names_of_parts(self.architecture, self.size, self.members[0].hyper)
        whole = gathered(parts, [len(group.members) for group in groups], names=names, like=x)
        self.steps += 1
        self.rows += len(x)
        if self.device.type == "cpu" or self.steps % DENSITY_EVERY == 1:
            self.density = measured(self.density, whole["l0"].tolist(), self.members)
        if self.resampling is not None and self.resampling.is_due(self.steps):
            for member in range(len(self)):
                self._resample(member, x, target)
        return StepReport.of(
            whole,
            variance=(target - target.mean(0)).square().sum() / len(x),
            frozen=self.frozen.clone(),
            step=self.steps,
            rows=self.rows,
            lr_factor=lr_factor,
            sparsity_factor=sparsity_factor,
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

    def _shapes(self, member: int) -> Shapes:
        """Of the parameters of one member, without padding."""
        return self.architecture.shapes(Size(self.d, self.members[member].width, self.out))

    def _idle(self, members: range) -> Tensor:
        """A view [members, width] of neighbours of one width."""
        return corner(self.idle, (self.members[members[0]].width,), members)

    def _rests(self, group: Group) -> bool:
        """Whether there is nothing left to do, told only where asking does not wait for the device."""
        return self.device.type == "cpu" and bool(self.frozen[group.members[0] : group.members[-1] + 1].all())

    def _step_group(self, group: Group, x: Tensor, target: Tensor) -> Aux:
        """Step neighbours of one width; return what there is to report, each [len(members)]."""
        members = group.members
        first, last = members[0], members[-1] + 1
        params = corners(self.params, self._shapes(first), members)
        idle = self._idle(members)
        given = Given(
            x=x,
            target=target,
            dead=idle >= self.dead_after,
            hyper=self._hyper(members),
            progress=torch.full((), self.schedule.progress(self.steps), dtype=self.dtype, device=self.device),
        )
        grads, loss, aux = gradients(self.architecture, params, given, group.coder, compiled=self.compiled)
        n_fired, buffers = aux.pop("firings"), aux.pop("buffers", {})
        grads.update(projected(grads, params, self.architecture.unit_rows))
        norms = gradient_norms(grads)
        frozen = self.frozen[first:last].logical_or_(~(torch.isfinite(loss) & torch.isfinite(norms)))
        limits = [m.clip for m in self.members[first:last]]
        if min(limits) < math.inf:
            grads = clipped(grads, norms, torch.tensor(limits, dtype=norms.dtype, device=norms.device))
        lr = [m.lr * self.schedule.lr_factor(self.steps) for m in self.members]
        self.adam.step(params, grads, members=members, lr=lr, skip=self.frozen)
        normalise(params, self.architecture.unit_rows, skip=frozen)
        for name, new in buffers.items():
            params[name].copy_(_unless(frozen, params[name], new))
        idle.copy_(_unless(frozen, idle, idle_after(idle, n_fired, len(x))))
        return {
            "loss": loss,
            "grad_norm": norms,
            "l0": n_fired.sum(1).to(loss) / len(x),
            "dead": dead_share(idle, self.dead_after),
            **aux,
        }

    def _resample(self, member: int, x: Tensor, target: Tensor) -> None:
        """Start the dead features of one member again from rows of this batch."""
        one = range(member, member + 1)
        settings, params, idle = self.members[member], self.params_of(member), self._idle(one)[0]
        dead = idle >= self.dead_after
        if bool(self.frozen[member]) or not bool(dead.any()):
            return
        hyper = {name: value[0] for name, value in self._hyper(one).items()}
        losses = (target - self.architecture.reconstruct(params, x, hyper)).square().sum(1)
        rows = drawn_rows(losses, int(dead.sum()), seed=settings.seed, step=self.steps)
        shapes = per_feature(self.architecture, Size(self.d, settings.width, self.out))
        own = {name: params[name] for name in shapes}
        for name, new in restarted(own, dead, reads=x[rows], writes=target[rows]).items():
            corner(self.params[name], shapes[name], one)[0].copy_(new)
            for moments in (self.adam.mean[name], self.adam.square[name]):
                corner(moments, shapes[name], one)[0][dead] = 0.0
        idle[dead] = 0

    def _hyper(self, members: range) -> dict[str, Tensor]:
        """The swept fields [len(members)], penalties already multiplied by the warm-up."""
        factors = dict.fromkeys(self.architecture.penalties, self.schedule.sparsity_factor(self.steps))
        values = stacked_hyper(self.members[members[0] : members[-1] + 1], factors)
        return {name: value.to(self.device, self.dtype) for name, value in values.items()}


def _unless(frozen: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """`new` [members, ...], and `old` for members that are frozen."""
    return torch.where(frozen.view(-1, *[1] * (old.ndim - 1)), old, new)
