"""Language models that are sparse by training, and their dense twins.

One architecture a file. What is known is this list and what plugins add (sae/plugins.py); loading it loads torch.
"""

from sae.plugins import Registry

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

ARCHITECTURES: Registry[type[Architecture]] = Registry(
    "architectures of language models",
    {each.name: each for each in (GPT, CRATE, CRATEAlpha, TopkGPT, SelfAblating, TopkLM, WeightSparse, PEER, T5)},
)

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
