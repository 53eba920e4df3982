"""A new store: everything but the activations, there all at once or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse
from actpipe.places import Place

from .dtypes import dtype_name
from .encoding import sound_scales
from .layout import LARGEST_SLAB_BYTES, SMALLEST_CHUNK_BYTES, StoreLayout, plan_layout
from .metadata import Text, fingerprint, pieces, root_attribute, with_channel_scales, write_arrays
from .objects import objects_at
from .store import Store


def create_store(
    place: Place,
    *,
    tokens: Text,
    doc: Text,
    mask: Text,
    hooks: Mapping[str, int],
    dtype: str | torch.dtype = "bfloat16",
    codec: str = "none",
    channel_scales: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    max_slab_bytes: int = LARGEST_SLAB_BYTES,
    min_chunk_bytes: int = SMALLEST_CHUNK_BYTES,
) -> Store:
    """Make a store without activations for tokens, doc and mask [sequences, context] and hooks {name: width}.

    int8 needs `channel_scales`, {hook: [width]}: `channel_scales` of encoding.py makes them from some rows.
    """
    objects = objects_at(place)
    if objects.exists():
        raise Misuse(f"{place} exists already; open it to continue, or remove it first.")
    texts = {"tokens": tokens, "doc": doc, "mask": mask}
    _check(texts)
    sequences, context = tokens.shape
    layout = plan_layout(
        context=context,
        sequences=sequences,
        hooks=hooks,
        dtype=dtype_name(dtype),
        codec=codec,
        max_slab_bytes=max_slab_bytes,
        min_chunk_bytes=min_chunk_bytes,
    )
    layout = _scaled(layout, channel_scales or {})
    identity = fingerprint(config=config or {}, hooks=hooks, dtype=layout.dtype, **texts)
    with objects.building() as folder:
        write_arrays(folder, layout, root_attribute(layout, config or {}, identity), texts)
    return Store.open(place)


def _scaled(layout: StoreLayout, channel_scales: Mapping[str, Any]) -> StoreLayout:
    if layout.dtype != "int8":
        if channel_scales:
            raise Misuse(f"Channel scales belong to int8; {layout.dtype} rows have none.")
        return layout
    if missing := sorted(set(layout.hooks) - set(channel_scales)):
        raise Misuse(f"int8 needs the channel scales of every hook, and those of {', '.join(missing)} are missing.")
    scales = {hook: sound_scales(channel_scales[hook]) for hook in layout.hooks}
    for hook, each in layout.hooks.items():
        if len(scales[hook]) != each.width:
            raise Misuse(f"The hook {hook!r} has width {each.width} and {len(scales[hook])} channel scales.")
    return with_channel_scales(layout, scales)


def _check(texts: Mapping[str, Text]) -> None:
    shapes = [text.shape for text in texts.values()]
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise Misuse(
            f"tokens, doc and mask must have one shape [sequences, context], not {', '.join(map(str, shapes))}."
        )
    for name in ("tokens", "doc"):
        for piece in pieces(texts[name]):
            _check_range(name, piece)


def _check_range(name: str, values: NDArray[Any]) -> None:
    if values.dtype != np.int32 and values.size and max(-int(values.min()) - 1, int(values.max())) >= 2**31:
        raise Misuse(f"{name} holds numbers beyond int32: {values.min()} to {values.max()}.")
