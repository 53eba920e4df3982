"""The model that a store was made with, loaded again and checked."""

from __future__ import annotations

from actpipe.errors import Mismatch, Missing
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.progress import Progress, silent
from actpipe.store import Store


def recorded_model(
    store: Store, device: str | None, *, otherwise: str = "", progress: Progress = silent
) -> LanguageModel:
    """In the dtype it was harvested with; `otherwise` says how to do without it."""
    recorded = store.config.get("model")
    if recorded is None:
        raise Missing(f"The store {store.place} does not say which model its rows are from. {otherwise}".rstrip())
    try:
        model = load_model(recorded["name"], dtype=recorded["dtype"], device=device, progress=progress)
    except Missing as error:
        raise Missing(f"The model of {store.place} is not there any more. {error} {otherwise}".rstrip()) from error
    if model.fingerprint() != recorded["fingerprint"]:
        raise Mismatch(
            f"The model {recorded['name']!r} has other weights now than when {store.place} was harvested. "
            f"Harvest again{', ' + otherwise[0].lower() + otherwise[1:] if otherwise else '.'}"
        )
    return model
