"""What every member of an ensemble must equal: one dictionary, one `torch.optim.Adam`, no stacking and no vmap."""

import torch

import sae

D, WIDTH, BATCH = 12, 20, 32


def correlated_rows(n_rows, seed=0, dtype=torch.float64, d=D):
    generator = torch.Generator().manual_seed(seed)
    factors = torch.relu(torch.randn(n_rows, 3 * d, generator=generator) - 1)
    mixed = factors @ torch.randn(3 * d, d, generator=generator)
    return sae.Scaling.from_rows(mixed).apply(mixed).to(dtype)


class SeparateRun:
    """One member by itself, through autograd and the plain loss of its architecture, in plain torch."""

    def __init__(self, ensemble, member, *, dead_after=10**6, schedule=None, coder=None):
        self.architecture = ensemble.architecture
        self.settings = ensemble.members[member]
        self.params = ensemble.params_of(member)
        self.learned = [name for name in self.params if name not in self.architecture.buffers]
        self.start = {name: p.clone() for name, p in self.params.items()}
        for name in self.learned:
            self.params[name].requires_grad_()
        self.optimizer = torch.optim.Adam([self.params[name] for name in self.learned], lr=self.settings.lr)
        self.schedule = schedule or sae.Schedule()
        self.dead_after, self.coder = dead_after, coder or sae.Dense()
        self.idle = torch.zeros(self.settings.width, dtype=torch.int64)
        self.steps = 0

    def step(self, x, target=None):
        hyper = {name: x.new_tensor(value) for name, value in self.settings.hyper.items()}
        for name in self.architecture.penalties:
            hyper[name] = hyper[name] * self.schedule.sparsity_factor(self.steps)
        step = sae.Step(
            x=x,
            target=x if target is None else target,
            dead=self.idle >= self.dead_after,
            progress=x.new_tensor(self.schedule.progress(self.steps)),
            coder=self.coder,
        )
        loss, aux = self.architecture.loss(self.params, step, hyper)
        self.optimizer.zero_grad()
        loss.backward()
        for name in self.architecture.unit_rows:
            w = self.params[name]
            along = (w.grad * w).sum(1, keepdim=True)
            w.grad = w.grad - along * w.detach()
        if self.settings.clip < float("inf"):
            torch.nn.utils.clip_grad_norm_([self.params[name] for name in self.learned], self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * self.schedule.lr_factor(self.steps)
        self.optimizer.step()
        with torch.no_grad():
            for name in self.architecture.unit_rows:
                self.params[name] /= self.params[name].norm(dim=1, keepdim=True)
            for name, value in aux.get("buffers", {}).items():
                self.params[name].copy_(value)
        self.idle = torch.where(aux["firings"] > 0, 0, self.idle + len(x))
        self.steps += 1
        return loss.item()
