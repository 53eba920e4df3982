"""What a model is called, and that `@init` is the same model before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from actpipe import shipped
from actpipe.errors import Missing
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import load_model
from actpipe.harvest.naming import Named, recorded_name
from actpipe.harvest.stage import harvest
from actpipe.store import Store
from tests.tiny_model import TINY, save_tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"), seed=1)


@pytest.mark.parametrize(
    ("name", "trained", "seed"),
    [
        ("smollm2", "smollm2", None),
        ("smollm2@init", "smollm2", 0),
        ("a/b@init=12", "a/b", 12),
        ("odd@initial", "odd@initial", None),
        ("a/b@shuffled=2", "a/b", 2),
        ("a/b@gaussian", "a/b", 0),
        ("actpipe:crate@init=3", "actpipe:crate", 3),
    ],
)
def test_a_name_is_taken_apart(name: str, trained: str, seed: int | None) -> None:
    named = Named.of(name)
    assert (named.trained, named.seed) == (trained, seed)
    assert Named.of(str(named)) == named


def test_init_is_the_same_architecture_with_the_first_weights_of_its_seed(saved: Path) -> None:
    trained = load_model(str(saved), dtype="float32").module.network
    first = load_model(f"{saved}@init=3", dtype="float32").module.network
    expected = TINY.build(seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), expected.parameters(), strict=True))
    assert not torch.equal(first.blocks[0].mlp.into.weight, trained.blocks[0].mlp.into.weight)


def test_shuffled_weights_are_the_trained_ones_in_other_places(saved: Path) -> None:
    trained = dict(load_model(str(saved), dtype="float32").module.named_parameters())
    for name, kept in (("shuffled", False), ("shuffled-blocks", True)):
        moved = dict(load_model(f"{saved}@{name}=3", dtype="float32").module.named_parameters())
        for key, weight in moved.items():
            assert torch.equal(weight.flatten().sort().values, trained[key].flatten().sort().values)
        tables = [key for key in moved if "embed" in key]
        assert len(tables) > 1
        assert all(torch.equal(moved[key], trained[key]) == kept for key in tables)
        key = "network.blocks.0.mlp.into.weight"
        assert not torch.equal(moved[key], trained[key])
        again = load_model(f"{saved}@{name}=3", dtype="float32")
        assert torch.equal(dict(again.module.named_parameters())[key], moved[key])
        other = dict(load_model(f"{saved}@{name}=4", dtype="float32").module.named_parameters())
        assert not torch.equal(other[key], moved[key])
    assert recorded_name(f"{saved}@shuffled-blocks") == f"{saved.resolve()}@shuffled-blocks=0"


def test_a_model_that_reads_noise_knows_nothing_of_its_tokens(saved: Path, saved_models: dict[str, Path]) -> None:
    for folder in (saved, saved_models["gpt2"]):
        trained = load_model(str(folder), dtype="float32")
        noisy = load_model(f"{folder}@gaussian=3", dtype="float32")
        table = trained.module.get_input_embeddings().weight  # type: ignore[operator]
        ids = torch.arange(256).reshape(16, 16) % 39
        read = noisy.module.get_input_embeddings()(ids)  # type: ignore[operator]
        assert torch.equal(read, noisy.module.get_input_embeddings()(ids))  # type: ignore[operator]
        assert torch.equal(noisy.logits(noisy.inputs(ids)), noisy.logits(noisy.inputs(ids)))
        flat = read.reshape(-1, read.shape[-1])
        of_one_token = flat[(ids == 5).flatten()]
        assert len(of_one_token.unique(dim=0)) == len(of_one_token) > 3  # drawn anew wherever the token stands
        torch.testing.assert_close(flat.mean(dim=0), table.mean(dim=0), atol=4 * float(table.std()) / 16, rtol=0)
        torch.testing.assert_close(flat.std(dim=0), table.std(dim=0), rtol=0.25, atol=0)
        assert noisy.fingerprint() != trained.fingerprint()
        assert noisy.fingerprint() != load_model(f"{folder}@gaussian=4", dtype="float32").fingerprint()


def test_a_model_of_transformers_has_a_twin_too_and_no_seed_of_the_caller_is_used(
    saved_models: dict[str, Path],
) -> None:
    def weights(name: str) -> torch.Tensor:
        return torch.cat([weight.flatten() for weight in load_model(name, dtype="float32").module.parameters()])

    torch.manual_seed(5)
    one = weights(f"{saved_models['gpt2']}@init=2")
    state = torch.random.get_rng_state()
    again = weights(f"{saved_models['gpt2']}@init=2")
    assert torch.equal(one, again)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(one, weights(f"{saved_models['gpt2']}@init=3"))
    assert not torch.equal(one, weights(str(saved_models["gpt2"])))


def test_a_harvest_of_the_untrained_twin_is_a_store_of_its_own(saved: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{i % 39}" for i in range(400)))
    prints = []
    for name in (str(saved), f"{saved}@init=1", f"{saved}@init=2"):
        out = tmp_path / f"{len(prints)}.zarr"
        harvest(
            HarvestConfig(
                model=name, dataset=str(text), tokens=200, context=16, out=out, hook=("blocks.1.mlp.hook_post",)
            )
        )
        store = Store.open(out)
        assert store.config["model"]["name"] == recorded_name(name)
        prints.append(store.config["model"]["fingerprint"])
    assert prints[0] == prints[1]  # it was saved with the weights of seed 1
    assert prints[2] != prints[0]


def test_an_unknown_shipped_model_is_one_sentence() -> None:
    with pytest.raises(Missing, match=r"no shipped model 'actpipe:nothing'.*actpipe info --models"):
        load_model("actpipe:nothing")


def test_every_shipped_model_has_its_files() -> None:
    for name in shipped.names():
        assert (shipped.folder(name) / "model.safetensors").is_file()
        assert (shipped.tokenizer_folder(name) / "tokenizer.json").is_file()
