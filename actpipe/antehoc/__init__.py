"""Language models that are sparse by training, and their dense twins.

One architecture a file; this list is what is known, and loading it loads torch.
"""

from .architecture import Architecture, Network
from .crate import CRATE, CRATEAlpha
from .gpt import GPT
from .peer import PEER
from .self_ablating import SelfAblating
from .t5 import T5
from .topk_gpt import TopkGPT
from .topk_lm import TopkLM
from .units import Units
from .weight_sparse import WeightSparse

ARCHITECTURES: dict[str, type[Architecture]] = {
    each.name: each for each in (GPT, CRATE, CRATEAlpha, TopkGPT, SelfAblating, TopkLM, WeightSparse, PEER, T5)
}

__all__ = [
    "ARCHITECTURES",
    "CRATE",
    "GPT",
    "PEER",
    "T5",
    "Architecture",
    "CRATEAlpha",
    "Network",
    "SelfAblating",
    "TopkGPT",
    "TopkLM",
    "Units",
    "WeightSparse",
]
