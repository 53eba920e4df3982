"""Every architecture, one a file. The imports are the registry's content."""

from .relu import ReLU

__all__ = ["ReLU"]
