"""Whether the same units are found again: by other seeds, in directions and in function."""

from .seeds import Side, Stability, stability

__all__ = ["Side", "Stability", "stability"]
