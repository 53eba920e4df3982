"""The exact state of a group between two sessions, and whether it belongs to this run."""

from __future__ import annotations

import torch
from safetensors import SafetensorError

import sae
from actpipe.errors import Mismatch, Misuse
from actpipe.store import Store

from .group import Group
from .run_folder import RunFolder


def save(run: RunFolder, group: Group, ensemble: sae.Ensemble, store: Store, *, seconds: float) -> None:
    extra = {"seconds": seconds, **_identity(group, store)}
    path = run.checkpoint(group.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    sae.save_checkpoint(path, ensemble, extra=extra)


def load(run: RunFolder, group: Group, store: Store, device: torch.device) -> tuple[sae.Ensemble, float] | None:
    """The ensemble and the seconds spent on it; None where there is no checkpoint yet."""
    path = run.checkpoint(group.name)
    if not path.exists():
        return None
    remedy = "Put the right file there, remove it to train its group anew, or start anew with --overwrite."
    try:
        ensemble, extra = sae.load_checkpoint(path, device=device)
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise Misuse(f"The checkpoint {path} cannot be read: {str(error).rstrip('.')}. {remedy}") from None
    for key, expected in _identity(group, store).items():
        if extra.get(key) != expected:
            what = "of another store" if key == "store" else "of other dictionaries"
            raise Mismatch(f"The checkpoint {path} is {what}. {remedy}")
    return ensemble, float(extra["seconds"])


def _identity(group: Group, store: Store) -> dict[str, object]:
    return {"store": store.fingerprint, "members": [member.name for member in group.members]}
