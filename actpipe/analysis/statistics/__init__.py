"""Intervals, controls and corrections for everything that is reported."""

from .density_points import DENSITY_POINTS, density_points
from .means import MEANS, means
from .measured import Measured

__all__ = ["DENSITY_POINTS", "MEANS", "Measured", "density_points", "means"]
