"""What is scored: units of any kind under one contract."""

from .unit_set import UnitSet

__all__ = ["UnitSet"]
