"""TopK-LM: the stream keeps k coordinates behind the layers that are chosen."""

import pytest
import torch

from actpipe.antehoc.topk_lm import TopkLM
from actpipe.errors import Misuse
from tests.hooked import captured

SMALL = {"vocabulary": 50, "context": 24, "d_model": 32, "n_layers": 3, "n_heads": 2, "d_mlp": 64}
INPUTS = {"input_ids": torch.randint(50, (4, 24), generator=torch.Generator().manual_seed(0))}


def test_the_largest_coordinates_go_on_and_the_last_layers_are_whole():
    network = TopkLM(**SMALL, k=5, n_dense=1).build(seed=1)
    names = [f"blocks.{n}.{name}" for n in (0, 1) for name in ("hook_resid_whole", "hook_resid_post")]
    seen = captured(network, INPUTS, [*names, "blocks.1.hook_resid_pre", "blocks.2.hook_resid_post"])
    for layer in (0, 1):
        whole, kept = (seen[f"blocks.{layer}.{name}"].flatten(0, 1) for name in ("hook_resid_whole", "hook_resid_post"))
        for row, left in zip(whole, kept, strict=True):
            places = row.argsort(descending=True)[:5]
            assert torch.equal(left.nonzero().flatten(), places.sort().values)
            assert torch.equal(left[places], row[places])
    assert torch.equal(seen["blocks.1.hook_resid_pre"], seen["blocks.0.hook_resid_post"])
    assert (seen["blocks.2.hook_resid_post"] != 0).all()
    assert [unit.hook for unit in network.units()] == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]


def test_k_falls_from_the_width_of_the_stream():
    network = TopkLM(**SMALL, k=4, warmup=0.5).build(seed=1)
    kept = []
    for fraction in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0):
        network.at(fraction)
        seen = captured(network, INPUTS, ["blocks.0.hook_resid_post"])["blocks.0.hook_resid_post"]
        assert len(set(seen.ne(0).sum(-1).flatten().tolist())) == 1
        kept.append(seen.ne(0).sum(-1).max().item())
    assert kept[0] == 32
    assert kept[-2:] == [4, 4]
    assert kept == sorted(kept, reverse=True)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"k": 33}, "k of topk-lm is 33; it lies between 1 and d_model, 32"),
        ({"n_dense": 3}, "n_dense of topk-lm is 3; of 3 layers at least one is sparse"),
        ({"warmup": -0.1}, "warmup of topk-lm is -0.1"),
        ({"d_mlp": 0}, "d_mlp of topk-lm is 0"),
    ],
)
def test_bad_fields_are_refused(wrong, sentence):
    with pytest.raises(Misuse, match=sentence):
        TopkLM(**SMALL | wrong)
