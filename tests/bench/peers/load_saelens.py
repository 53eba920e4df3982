"""Dictionaries through SAELens itself; runs in the environment of `make peers`.

python load_saelens.py load FOLDER rows.npy answer.npz    codes and reconstructions of the rows
python load_saelens.py save FOLDER NAME rows.npy answer.npz   makes one, saves it as its trainer would, and answers
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

D, N, OUT, K = 16, 40, 12, 5


def made(name: str) -> "torch.nn.Module":
    """A dictionary with random numbers in all its parameters, as a training one where SAELens has that."""
    import sae_lens

    size = {"d_in": D, "d_sae": N}
    kinds = {
        "standard": (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig(**size)),
        "gated": (sae_lens.GatedTrainingSAE, sae_lens.GatedTrainingSAEConfig(**size)),
        "topk": (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig(**size, k=K)),
        "batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig(**size, k=K)),
        "jumprelu": (sae_lens.JumpReLUTrainingSAE, sae_lens.JumpReLUTrainingSAEConfig(**size)),
        "layer_norm": (
            sae_lens.StandardTrainingSAE,
            sae_lens.StandardTrainingSAEConfig(**size, normalize_activations="layer_norm"),
        ),
        "transcoder": (
            sae_lens.Transcoder,
            sae_lens.TranscoderConfig(**size, d_out=OUT, apply_b_dec_to_input=False),
        ),
        "jumprelu_skip_transcoder": (
            sae_lens.JumpReLUSkipTranscoder,
            sae_lens.JumpReLUSkipTranscoderConfig(**size, d_out=OUT, apply_b_dec_to_input=False),
        ),
    }
    cls, config = kinds[name]
    config.metadata.hook_name = "blocks.1.hook_resid_post"
    torch.manual_seed(0)
    sae = cls(config)
    with torch.no_grad():
        for key, p in sae.named_parameters():
            p.copy_(torch.rand_like(p) + 0.1 if key == "threshold" else torch.randn_like(p))
        if name == "batchtopk":
            sae.topk_threshold.fill_(0.8)
    return sae


def answer(sae: "torch.nn.Module", rows: torch.Tensor, to: str) -> None:
    with torch.no_grad():
        codes = sae.encode(rows)
        codes = codes.to_dense() if codes.is_sparse else codes
        np.savez(to, codes=codes.numpy(), rows=sae(rows).numpy(), lengths=sae.W_dec.norm(dim=-1).numpy())


def main(what: str, folder: str, *rest: str) -> None:
    from sae_lens import SAE

    if what == "save":
        name, *rest = rest
        sae = made(name)
        getattr(sae, "save_inference_model", sae.save_model)(Path(folder))
    rows = torch.from_numpy(np.load(rest[0]))
    # As SAELens reads what it has saved: for BatchTopK that is a JumpReLU.
    answer(SAE.load_from_disk(folder), rows, rest[1])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
