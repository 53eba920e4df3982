"""Sparse dictionaries of activations, in pure torch; knows nothing of text, models or stores.

ensemble = sae.Ensemble.create(sae.ReLU(), [{"l1": 2.0}, {"l1": 8.0}], d=64, width=256, sample=z)
for report in sae.fit(ensemble, batches, steps=1000): ...
ensemble.dictionary(0, scaling=scaling).save(folder)
dictionary = sae.load(folder)          # .encode(x), .decode(codes), .directions, .config
"""

from . import baselines
from .architecture import Architecture, Fitted, Size, Step, Trained
from .architectures import ReLU
from .capacity import capacities, entropies, expected_interference, neurons_per_feature
from .checkpoint import load_checkpoint, save_checkpoint
from .coder import Coder, Dense
from .dictionary import Dictionary, load
from .ensemble import Ensemble
from .evaluate import DensityHistogram, Evaluation, SplitFVU, density_histogram, evaluate, split_fvu
from .fit import fit
from .ground_truth import Forest, GroundTruth, Mixture, SparseMix
from .matching import (
    Comparison,
    Matching,
    above_chance,
    chance_mmcs,
    compare,
    match,
    max_cosines,
    mmcs,
    mmcs_matrix,
)
from .member import Member
from .moments import Moments, MomentSums
from .placement import joined, part, placed
from .recovery import Recovery, recovery
from .registry import get as get_architecture
from .registry import names as architecture_names
from .resampling import Resampling
from .scaling import Scaling
from .schedules import Schedule
from .step_report import StepReport

__all__ = [
    "Architecture",
    "Coder",
    "Comparison",
    "Dense",
    "DensityHistogram",
    "Dictionary",
    "Ensemble",
    "Evaluation",
    "Fitted",
    "Forest",
    "GroundTruth",
    "Matching",
    "Member",
    "Mixture",
    "MomentSums",
    "Moments",
    "ReLU",
    "Recovery",
    "Resampling",
    "Scaling",
    "Schedule",
    "Size",
    "SparseMix",
    "SplitFVU",
    "Step",
    "StepReport",
    "Trained",
    "above_chance",
    "architecture_names",
    "baselines",
    "capacities",
    "chance_mmcs",
    "compare",
    "density_histogram",
    "entropies",
    "evaluate",
    "expected_interference",
    "fit",
    "get_architecture",
    "joined",
    "load",
    "load_checkpoint",
    "match",
    "max_cosines",
    "mmcs",
    "mmcs_matrix",
    "neurons_per_feature",
    "part",
    "placed",
    "recovery",
    "save_checkpoint",
    "split_fvu",
]
