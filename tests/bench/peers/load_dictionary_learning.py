"""Dictionaries through dictionary_learning itself; runs in the environment of `make peers`.

python load_dictionary_learning.py load FOLDER rows.npy answer.npz       codes and reconstructions of the rows
python load_dictionary_learning.py save FOLDER CLASS rows.npy answer.npz    makes one, saves it, and answers
"""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

D, N, K = 16, 40, 5
SCALE = 3.0  # what a run with normalize_activations would multiply biases by


def stand_in(name: str, *members: str) -> None:
    """Its utils import these for data and models, which dictionaries do not need."""
    sys.modules[name] = types.ModuleType(name)
    for member in members:
        setattr(sys.modules[name], member, object)


def made(kind: str) -> "torch.nn.Module":
    from dictionary_learning import dictionary
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    torch.manual_seed(0)
    with_k: dict[str, Any] = {
        "AutoEncoderTopK": lambda: AutoEncoderTopK(D, N, K),
        "BatchTopKSAE": lambda: BatchTopKSAE(D, N, K),
        "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(D, N, K, [10, N - 10]),
    }
    made = with_k[kind]() if kind in with_k else getattr(dictionary, kind)(D, N)
    with torch.no_grad():
        for key, p in made.named_parameters():
            p.copy_(torch.rand_like(p) + 0.1 if key == "threshold" else torch.randn_like(p))
        if kind in with_k and kind != "AutoEncoderTopK":
            made.threshold.fill_(0.8)
        if hasattr(made, "scale_biases"):
            made.scale_biases(SCALE)
    return made


def main(what: str, folder: str, *rest: str) -> None:
    from dictionary_learning.utils import load_dictionary

    if what == "save":
        kind, *rest = rest
        Path(folder).mkdir(parents=True)
        torch.save({key: t.cpu() for key, t in made(kind).state_dict().items()}, Path(folder, "ae.pt"))
        trainer = {"dict_class": kind, "k": K, "layer": 2, "submodule_name": "resid_post_layer_2"}
        Path(folder, "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    rows = torch.from_numpy(np.load(rest[0]))
    with torch.no_grad():
        loaded, _ = load_dictionary(folder, "cpu")
        decoder = loaded.W_dec if hasattr(loaded, "W_dec") else loaded.decoder.weight.T
        codes = loaded.encode(rows)
        np.savez(rest[1], codes=codes.numpy(), rows=loaded(rows).numpy(), lengths=decoder.norm(dim=-1).numpy())


if __name__ == "__main__":
    import datasets  # looks for zstandard, so before that is a stand-in  # noqa: F401

    stand_in("nnsight", "LanguageModel")
    stand_in("zstandard")
    main(*sys.argv[1:])
