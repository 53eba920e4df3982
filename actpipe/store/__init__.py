"""Activations on disk: a Zarr v3 group in slabs, written whole, checked on reading (docs/reference/store-format.md).

The names below load when they are first used, so that importing `actpipe` stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batches import Batch
    from .create import create_store
    from .layout import StoreLayout, plan_layout
    from .metadata import fingerprint
    from .statistics import Statistics
    from .store import Store
    from .verification import verify

__all__ = ["Batch", "Statistics", "Store", "StoreLayout", "create_store", "fingerprint", "plan_layout", "verify"]

_HOMES = {
    "Batch": ".batches",
    "Statistics": ".statistics",
    "Store": ".store",
    "StoreLayout": ".layout",
    "create_store": ".create",
    "fingerprint": ".metadata",
    "plan_layout": ".layout",
    "verify": ".verification",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
