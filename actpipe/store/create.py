"""A new store: everything but the activations, built beside its place and renamed into it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Failure, Misuse
from actpipe.files import is_another_running, sync_folder, sync_tree

from .dtypes import dtype_name
from .layout import LARGEST_SLAB_BYTES, SMALLEST_CHUNK_BYTES, plan_layout
from .metadata import fingerprint, root_attribute, write_arrays
from .store import Store


def create_store(
    path: str | Path,
    *,
    tokens: NDArray[Any],
    doc: NDArray[Any],
    mask: NDArray[Any],
    hooks: Mapping[str, int],
    dtype: str | torch.dtype = "bfloat16",
    config: Mapping[str, Any] | None = None,
    max_slab_bytes: int = LARGEST_SLAB_BYTES,
    min_chunk_bytes: int = SMALLEST_CHUNK_BYTES,
) -> Store:
    """Make a store without activations for tokens, doc and mask [sequences, context] and hooks {name: width}."""
    path = Path(path)
    if path.exists():
        raise Misuse(f"{path} exists already; open it to continue, or remove it first.")
    texts = _checked(tokens, doc, mask)
    sequences, context = tokens.shape
    layout = plan_layout(
        context=context,
        sequences=sequences,
        hooks=hooks,
        dtype=dtype_name(dtype),
        max_slab_bytes=max_slab_bytes,
        min_chunk_bytes=min_chunk_bytes,
    )
    identity = fingerprint(config=config or {}, hooks=hooks, dtype=layout.dtype, **texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        write_arrays(temporary, layout, root_attribute(layout, config or {}, identity), texts)
        sync_tree(temporary)
        _publish(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)
    return Store.open(path)


def _remove_stale(path: Path) -> None:
    """What a killed process left beside `path`: its number is gone, or is ours, as in a container started again."""
    pattern = re.compile(re.escape(path.name) + r"\.(\d{1,7})-[0-9a-f]{8}\.partial")  # process numbers end at 2^22
    for sibling in path.parent.iterdir():
        match = pattern.fullmatch(sibling.name)
        if match and not is_another_running(int(match[1])):
            shutil.rmtree(sibling, ignore_errors=True)


def _publish(temporary: Path, path: Path) -> None:
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise Failure(
            f"Another harvest began {path} at the same moment. Run the same command again to continue it."
        ) from None


def _checked(tokens: NDArray[Any], doc: NDArray[Any], mask: NDArray[Any]) -> dict[str, NDArray[Any]]:
    if tokens.ndim != 2 or tokens.shape != doc.shape or tokens.shape != mask.shape:
        raise Misuse(
            "tokens, doc and mask must have one shape [sequences, context], "
            f"not {tokens.shape}, {doc.shape}, {mask.shape}."
        )
    for name, values in (("tokens", tokens), ("doc", doc)):
        if values.size and max(-int(values.min()) - 1, int(values.max())) >= 2**31:
            raise Misuse(f"{name} holds numbers beyond int32: {values.min()} to {values.max()}.")
    return {"tokens": tokens.astype(np.int32), "doc": doc.astype(np.int32), "mask": mask.astype(np.bool_)}
