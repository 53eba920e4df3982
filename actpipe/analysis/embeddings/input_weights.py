"""The input embeddings of a model, read from its file alone where it has one.

A model named …@init is read with its trained weights: the embedding is the instrument, and a control arm must be
measured with the same one.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import ActpipeError
from actpipe.harvest import naming


def input_embeddings(name: str) -> NDArray[np.float32]:
    """[vocabulary, d_model]. Missing where the model is gone."""
    trained = naming.Named.of(name).trained
    found = _from_file(trained)
    if found is not None:
        return found
    from actpipe.harvest.model import load_model

    model = load_model(trained, dtype="float32", device="cpu")
    weight: NDArray[np.float32] = model.module.get_input_embeddings().weight.detach().numpy()  # type: ignore[operator]
    return weight


def _from_file(name: str) -> NDArray[np.float32] | None:
    """None where the file does not say under the module's name what the embeddings are."""
    from safetensors import safe_open

    folder = Path(naming.source(name))
    key = _key(name) if folder.is_dir() else None
    path = None if key is None else _file_of(folder, key)
    if path is None or key is None:
        return None
    with safe_open(path, framework="pt") as opened:
        if key not in opened.keys():  # noqa: SIM118 - it is no mapping
            return None
        weight: NDArray[np.float32] = opened.get_tensor(key).float().numpy()
    return weight


def _file_of(folder: Path, key: str) -> Path | None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shard = json.loads(index.read_text())["weight_map"].get(key)
        return None if shard is None else folder / shard
    whole = folder / "model.safetensors"
    return whole if whole.is_file() else None


def _key(name: str) -> str | None:
    """The name of the embeddings' weight in the whole model, built without weights."""
    import torch

    from actpipe.harvest.model import auto_class, load_config
    from actpipe.harvest.quiet import quiet_transformers

    config = load_config(name)
    try:
        with torch.device("meta"), quiet_transformers():
            module = auto_class(config).from_config(config)
    except ActpipeError:
        raise
    except Exception:  # code of any model, which may not build without weights; loading it whole then works or says why
        return None
    wanted = module.get_input_embeddings()
    return next((f"{path}.weight" for path, one in module.named_modules() if one is wanted), None)
