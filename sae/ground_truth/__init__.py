"""Synthetic rows made of known features, on which a dictionary can be checked against the truth; one recipe a file."""

from .forest import Forest
from .mixture import Mixture
from .sparse_mix import SparseMix
from .truth import Draw, GroundTruth

__all__ = ["Draw", "Forest", "GroundTruth", "Mixture", "SparseMix"]
