"""Intervals, controls and corrections for everything that is reported."""

from .means import MEANS, means
from .measured import Measured

__all__ = ["MEANS", "Measured", "means"]
