"""Arms side by side: which of several sets of units is better, where that can be said.

What it writes is docs/reference/compare-format.md.
"""

from __future__ import annotations

from .config import CompareConfig
from .stage import compare

__all__ = ["CompareConfig", "compare"]
