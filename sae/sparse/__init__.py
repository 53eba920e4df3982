"""Coders that compute only what active codes touch, and the choice among all coders."""

from .choice import choose
from .coder import Sparse

__all__ = ["Sparse", "choose"]
