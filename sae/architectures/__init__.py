"""Every architecture, one a file. The imports are the registry's content."""

from .batch_topk import BatchTopK
from .crosscoder import Crosscoder
from .deep import Deep
from .fista import Fista
from .frozen_decoder import FrozenDecoder
from .frozen_encoder import FrozenEncoder
from .gated import Gated
from .imported import Imported, ImportedTranscoder
from .jumprelu import JumpReLU
from .lista import Lista
from .matryoshka import Matryoshka
from .p_anneal import PAnneal
from .positive_tied import PositiveTied
from .relu import ReLU
from .residual_denoising import ResidualDenoising
from .reverse import Reverse
from .rica import Rica
from .semilinear import Semilinear
from .skip_transcoder import SkipTranscoder
from .soft_frozen_decoder import SoftFrozenDecoder
from .thresholding import Thresholding
from .tied import Tied
from .tied_centred import TiedCentred
from .topk import TopK
from .transcoder import Transcoder
from .untied import Untied
from .untied_centred import UntiedCentred

__all__ = [
    "BatchTopK",
    "Crosscoder",
    "Deep",
    "Fista",
    "FrozenDecoder",
    "FrozenEncoder",
    "Gated",
    "Imported",
    "ImportedTranscoder",
    "JumpReLU",
    "Lista",
    "Matryoshka",
    "PAnneal",
    "PositiveTied",
    "ReLU",
    "ResidualDenoising",
    "Reverse",
    "Rica",
    "Semilinear",
    "SkipTranscoder",
    "SoftFrozenDecoder",
    "Thresholding",
    "Tied",
    "TiedCentred",
    "TopK",
    "Transcoder",
    "Untied",
    "UntiedCentred",
]
