"""Sparse dictionaries of activations, in pure torch; knows nothing of text, models or stores.

ensemble = sae.Ensemble.create(sae.ReLU(), [{"l1": 2.0}, {"l1": 8.0}], d=64, width=256, sample=z)
for report in sae.fit(ensemble, batches, steps=1000): ...
ensemble.dictionary(0, scaling=scaling).save(folder)
dictionary = sae.load(folder)          # .encode(x), .decode(codes), .directions, .config
"""

from .architecture import Architecture, Fitted, Size, Step, Trained
from .architectures import ReLU
from .checkpoint import load_checkpoint, save_checkpoint
from .coder import Coder, Dense
from .dictionary import Dictionary, load
from .ensemble import Ensemble
from .evaluate import Evaluation, evaluate
from .fit import fit
from .ground_truth import Mixture
from .matching import max_cosines, mmcs
from .member import Member
from .placement import joined, part, placed
from .registry import get as get_architecture
from .registry import names as architecture_names
from .resampling import Resampling
from .scaling import Scaling
from .schedules import Schedule
from .step_report import StepReport

__all__ = [
    "Architecture",
    "Coder",
    "Dense",
    "Dictionary",
    "Ensemble",
    "Evaluation",
    "Fitted",
    "Member",
    "Mixture",
    "ReLU",
    "Resampling",
    "Scaling",
    "Schedule",
    "Size",
    "Step",
    "StepReport",
    "Trained",
    "architecture_names",
    "evaluate",
    "fit",
    "get_architecture",
    "joined",
    "load",
    "load_checkpoint",
    "max_cosines",
    "mmcs",
    "part",
    "placed",
    "save_checkpoint",
]
