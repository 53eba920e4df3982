"""Dictionaries and a store become tables of scores, examples and controls: one pass, no model run.

The tables are specified in docs/reference/report-format.md. Every statistic is a mergeable accumulator, one a file: the
result does not depend on the order of the rows or on how many parts they are split into.
"""

from __future__ import annotations

from .config import AnalyzeConfig
from .stage import analyze

__all__ = ["AnalyzeConfig", "analyze"]
