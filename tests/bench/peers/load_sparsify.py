"""Dictionaries through sparsify itself; runs in the environment of `make peers`.

python load_sparsify.py load FOLDER rows.npy answer.npz      codes and reconstructions of the rows
python load_sparsify.py save FOLDER KIND rows.npy answer.npz    makes one (sae, transcoder, skip), saves it, and answers
"""

import sys

import numpy as np
import torch

D, N, K = 16, 40, 5


def main(what: str, folder: str, *rest: str) -> None:
    from sparsify import SparseCoder, SparseCoderConfig

    if what == "save":
        kind, *rest = rest
        torch.manual_seed(0)
        config = SparseCoderConfig(
            num_latents=N, k=K, transcode=kind != "sae", skip_connection=kind == "skip", normalize_decoder=False
        )
        made = SparseCoder(D, config)
        with torch.no_grad():
            for p in made.parameters():
                p.copy_(torch.randn_like(p))
        made.save_to_disk(folder)
    rows = torch.from_numpy(np.load(rest[0]))
    with torch.no_grad():
        loaded = SparseCoder.load_from_disk(folder)
        top, places, pre = loaded.encode(rows)
        codes = torch.zeros_like(pre).scatter(-1, places, top)
        answered = loaded(rows).sae_out
        np.savez(rest[1], codes=codes.numpy(), rows=answered.numpy(), lengths=loaded.W_dec.norm(dim=-1).numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
