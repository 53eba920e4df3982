"""model + text → how sparse its activations are, by layer, position and task: the stage `measure_sparsity`."""

from .config import SparsityConfig
from .stage import measure_sparsity

__all__ = ["SparsityConfig", "measure_sparsity"]
