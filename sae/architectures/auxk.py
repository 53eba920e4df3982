"""AuxK: what the dictionary missed is reconstructed by dead features alone (Gao et al. 2024, arXiv 2406.04093, A.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from sae import gates
from sae.architecture import Params, Step

from .affine import training_bias

# The weight α of Gao et al. 2024.
ALPHA = 1 / 32


def auxk(params: Params, step: Step, answer: Tensor) -> Tensor:
    """‖e − ê‖² · d / Var(e), a mean over rows: e = target − answer, fixed, and ê from the k_aux best dead features.

    k_aux = d / 2, the rule of their appendix B.1; ê has no bias; 0 where no feature is dead, and where e is the same on
    all rows (one row, say) and so has no variance but that of rounding. Their code divides both
    this and the reconstruction by the variance of what is explained. Here E‖x‖² = d makes the reconstruction d times
    theirs, and so this is too.

    Codes are positive, as theirs: a dead feature whose pre-activation is negative on every row of the batch is given
    no gradient, and comes back only by resampling or when the rows change.
    """
    d = step.target.shape[-1]
    missed = (step.target - answer).detach()
    revived = step.coder(
        step.x,
        params["W_enc"],
        training_bias(params),
        params["W_dec"],
        gates.TopK(missed.new_tensor(max(1, d // 2))),
        only=step.dead,
    )
    variance = (missed - missed.mean(0)).square().sum()
    varies = variance > torch.finfo(missed.dtype).eps * missed.square().sum()
    error = (missed - revived.output).square().sum() * d / torch.where(varies, variance, 1.0)
    return torch.where(step.dead.any() & varies, error, 0.0)
