"""What a step of each architecture costs beside its arithmetic.

    python -m tests.bench.antehoc [--rounds 10] [--only crate,t5] [--d-model 128] [--layers 4] [--dtype bfloat16]

A step is forward, backward and what the architecture does after the optimizer; its arithmetic is the products of
matrices in forward and backward, attention included, as torch counts them. One line an architecture:

    seconds a step as train-lm computes it, GFLOP a step, and how many times as long the same step takes by torch's own
    products; then seconds per FLOP over those of the dense twin, and over those of one product of torch

The last but one is what to hold a model to: 1.3 means that it takes 1.3 times what as many FLOPs take in `gpt`. Seconds
are of the processor, on one thread; steps of all architectures are interleaved and medians are shown, so a busy machine
slows all alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from actpipe.antehoc import ARCHITECTURES, Architecture, Network
from actpipe.memory import keep_freed_memory
from actpipe.pretraining.arithmetic import arithmetic

TWIN = "gpt"


def main() -> None:
    options = _options()
    keep_freed_memory()
    torch.set_num_threads(1)
    networks = {name: _sized(name, options).build() for name in _names(options)}
    batches = {name: _batch(network, options) for name, network in networks.items()}
    flops = {name: _flops(network, batches[name]) for name, network in networks.items()}
    ways = (False, True)
    times: dict[tuple[str, bool], list[float]] = {(name, by_torch): [] for name in networks for by_torch in ways}
    for _ in range(options.rounds + 1):
        for (name, by_torch), taken in times.items():
            begun = time.process_time()
            _step(networks[name], batches[name], _dtype(options), by_torch=by_torch)
            taken.append(time.process_time() - begun)
    seconds = {key: statistics.median(taken[1:]) for key, taken in times.items()}
    rate = _product_rate(options)
    print(f"{options.batch} × {options.context} tokens, {options.dtype}; a product of torch {rate / 1e9:.0f} GFLOP/s")
    cost = {name: seconds[name, False] / flops[name] for name in networks}
    for name in networks:
        ours = seconds[name, False]
        print(
            f"{name:14} {ours:7.3f} s {flops[name] / 1e9:7.2f} GFLOP {seconds[name, True] / ours:6.2f} × by torch "
            f"{cost[name] / cost[TWIN]:6.2f} × {TWIN} {cost[name] * rate:6.2f} × products"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"rounds": 10, "batch": 8, "context": 256, "vocabulary": 4096, "d-model": 128}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--only", default="", help="names of architectures, separated by commas")
    return parser.parse_args()


def _names(options: argparse.Namespace) -> list[str]:
    wanted = options.only.split(",") if options.only else list(ARCHITECTURES)
    return list(dict.fromkeys((TWIN, *wanted)))


def _sized(name: str, options: argparse.Namespace) -> Architecture:
    fields = {
        "vocabulary": options.vocabulary,
        "context": options.context,
        "d_model": options.d_model,
        "n_layers": options.layers,
        "d_mlp": 4 * options.d_model,
    }
    known = {field.name for field in dataclasses.fields(ARCHITECTURES[name])}
    return ARCHITECTURES[name](**{field: value for field, value in fields.items() if field in known})


def _batch(network: Network, options: argparse.Namespace) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(options.vocabulary, (options.batch, options.context), generator=draw)
    batch = {"input_ids": ids, "labels": ids.roll(-1, dims=1)}
    if hasattr(network, "decoder_blocks"):
        batch |= {"decoder_input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return batch


def _dtype(options: argparse.Namespace) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, options.dtype)
    return dtype


def _step(network: Network, batch: dict[str, Tensor], dtype: torch.dtype, *, by_torch: bool) -> None:
    network.zero_grad()
    network.at(0.5)
    with arithmetic(dtype, torch.device("cpu"), compiled=by_torch):
        loss = network.losses(batch)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    network.project()


def _flops(network: Network, batch: dict[str, Tensor]) -> int:
    """Attention runs as products of matrices here: torch does not count its fused form on a CPU."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.losses(batch)["loss"].backward()
    total: int = counter.get_total_flops()
    return total


def _product_rate(options: argparse.Namespace) -> float:
    """FLOP/s of the product that a dense MLP makes: tokens × d times d × 4 d."""
    rows, d = options.batch * options.context, options.d_model
    x, w = (torch.randn(shape).to(_dtype(options)) for shape in ((rows, d), (d, 4 * d)))
    times = []
    for _ in range(5 * options.rounds):
        begun = time.process_time()
        torch.mm(x, w)
        times.append(time.process_time() - begun)
    return 2 * rows * d * 4 * d / statistics.median(times)


if __name__ == "__main__":
    main()
