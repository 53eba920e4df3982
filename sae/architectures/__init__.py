"""Every architecture, one a file. The imports are the registry's content."""

from .batch_topk import BatchTopK
from .gated import Gated
from .imported import Imported, ImportedTranscoder
from .jumprelu import JumpReLU
from .matryoshka import Matryoshka
from .p_anneal import PAnneal
from .relu import ReLU
from .tied import Tied
from .topk import TopK

__all__ = [
    "BatchTopK",
    "Gated",
    "Imported",
    "ImportedTranscoder",
    "JumpReLU",
    "Matryoshka",
    "PAnneal",
    "ReLU",
    "Tied",
    "TopK",
]
