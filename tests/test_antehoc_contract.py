"""What every architecture must hold. A new line in ARCHITECTURES is tested without a change here.

An architecture that does not fit `SMALL` as it is has the fields that make it fit in `OWN`.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from actpipe.antehoc import ARCHITECTURES, Architecture, Network
from actpipe.antehoc.architecture import IGNORED, cross_entropy
from actpipe.antehoc.hugging_face import load, save
from actpipe.antehoc.units import Kind
from actpipe.errors import Misuse
from actpipe.harvest.capture import capture
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.harvest.sites import all_sites, find_sites
from actpipe.harvest.unembedding import logit_directions
from tests.hooked import captured

SMALL = {"vocabulary": 400, "context": 20, "d_model": 32, "n_layers": 2, "n_heads": 4, "d_mlp": 64}
OWN: dict[str, dict[str, Any]] = {}
IN_EVERY_BLOCK = (
    "hook_resid_pre",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "mlp.hook_post",
    "hook_mlp_out",
    "hook_resid_post",
)
OF_A_DECODER_THAT_READS_AN_ENCODER = ("cross_attn.hook_z", "hook_cross_attn_out", "hook_resid_mid2")


@dataclass(frozen=True)
class Example:
    architecture: Architecture
    network: Network
    folder: Path
    model: LanguageModel

    @property
    def reads_twice(self) -> bool:
        return self.model.kind == "encoder-decoder"


def small(name: str) -> Architecture:
    known = {field.name for field in dataclasses.fields(ARCHITECTURES[name])}
    fields = {field: value for field, value in SMALL.items() if field in known} | OWN.get(name, {})
    return ARCHITECTURES[name](**fields)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Example:
    """A network whose biases and gains are not 0 and 1, saved, and the model that opens there."""
    architecture = small(request.param)
    network = architecture.build(seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 1:
                weight += 0.2 * torch.randn(weight.shape, generator=draw)
    folder = tmp_path_factory.mktemp("antehoc") / request.param
    with_padding = copy.deepcopy(tokenizer)
    with_padding.pad_token = with_padding.eos_token
    save(network, architecture, with_padding, folder)
    return Example(architecture, network, folder, load_model(str(folder), dtype="float32", device="cpu"))


def tokens(rows: int = 3, seed: int = 0, length: int = 20) -> Tensor:
    return torch.randint(1, 400, (rows, length), generator=torch.Generator().manual_seed(seed))


def batch_of(example: Example) -> dict[str, Tensor]:
    """With labels that do not count and, where there is a mask, with padding."""
    labels = tokens(seed=1)
    labels[0, :4] = IGNORED
    if not example.reads_twice:
        return {"input_ids": tokens(), "labels": labels}
    mask = torch.ones(3, 20, dtype=torch.long)
    mask[1, 12:] = 0
    return {"input_ids": tokens(), "attention_mask": mask, "decoder_input_ids": tokens(seed=3), "labels": labels}


def inputs_of(example: Example) -> dict[str, Tensor]:
    return {name: value for name, value in batch_of(example).items() if name != "labels"}


def values(example: Example, hooks: list[str]) -> dict[str, Tensor]:
    """{hook: [rows, width]} as harvesting takes them."""
    sites = find_sites(hooks, example.model.config, example.model.tokenizer)
    with capture(example.model, sites) as run:
        return {hook: value.flatten(0, 1).clone() for hook, value in run(tokens()).items()}


def test_names_and_lines_are_there(example: Example) -> None:
    cls = type(example.architecture)
    assert ARCHITECTURES[cls.name] is cls
    assert cls.about
    assert "\n" not in cls.about
    assert not cls.about.endswith(".")


def test_a_seed_says_all(example: Example) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (example.architecture.build(seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(one[name], same[name]) for name in one)
    # What is drawn differs; zeros, ones and gains do not.
    drawn = [name for name in one if one[name].ndim > 1 and one[name].unique().numel() > 1]
    assert drawn
    assert all(not torch.equal(one[name], other[name]) for name in drawn)
    torch.manual_seed(99)  # of the global state, nothing is used
    again = example.architecture.build(seed=5).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    torch.random.set_rng_state(before)


def test_fields_come_back_from_a_file_and_from_a_command_line(example: Example) -> None:
    architecture = example.architecture
    assert type(architecture).of(architecture.fields) == architecture
    as_typed = {name: str(value) for name, value in architecture.fields.items()}
    assert type(architecture).of(as_typed) == architecture


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"n_layers": 0}, "n_layers"),
        ({"n_layers": "two"}, "n_layers"),
        ({"n_layers": 1.5}, "n_layers"),
        ({"n_heads": 3}, "n_heads"),
        ({"no_such_field": 1}, "no_such_field"),
    ],
)
def test_a_bad_field_gives_a_sentence(example: Example, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(Misuse, match=named) as refused:
        type(example.architecture).of(example.architecture.fields | wrong)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_what_was_saved_is_loaded(example: Example) -> None:
    architecture, network = load(example.folder)
    assert architecture == example.architecture
    inputs = inputs_of(example)
    with torch.no_grad():
        expected = example.network.logits(**inputs)
        assert torch.equal(network.logits(**inputs), expected)
        assert torch.equal(example.model.module(**inputs).logits, expected)
    assert expected.shape == (3, 20, 400)


def test_in_half_the_bytes_every_weight_is_saved_once(example: Example, tmp_path: Path) -> None:
    save(example.network, example.architecture, example.model.tokenizer, tmp_path, dtype=torch.float16)
    saved = load_file(tmp_path / "model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float16}
    assert sum(value.numel() for value in saved.values()) == sum(example.network.n_parameters().values())
    reopened = load(tmp_path)[1]
    for name, value in example.network.state_dict().items():
        assert torch.equal(reopened.state_dict()[name], value.half().float()), name


def test_the_untrained_twin_goes_by_its_name(example: Example) -> None:
    twin = load_model(f"{example.folder}@init=4", dtype="float32", device="cpu")
    inputs = inputs_of(example)
    with torch.no_grad():
        expected = example.architecture.build(seed=4).logits(**inputs)
        assert torch.equal(twin.module(**inputs).logits, expected)


def test_it_has_the_names_of_transformer_lens(example: Example) -> None:
    sites = all_sites(example.model.config, example.model.tokenizer)
    stacks = {"blocks": IN_EVERY_BLOCK}
    if example.reads_twice:
        decoder = [name.replace("attn.hook_z", "self_attn.hook_z") for name in IN_EVERY_BLOCK]
        stacks = {
            "encoder_blocks": IN_EVERY_BLOCK,
            "decoder_blocks": (*decoder, *OF_A_DECODER_THAT_READS_AN_ENCODER),
        }
    for stack, names in stacks.items():
        for layer in range(2):
            for name in names:
                assert f"{stack}.{layer}.{name}" in sites
            assert sites[f"{stack}.{layer}.hook_resid_post"].width == 32
    assert all(site.through == "native" for site in sites.values())


def test_units_are_where_they_say(example: Example) -> None:
    units = example.network.units()
    assert units
    sites = all_sites(example.model.config, example.model.tokenizer)
    for unit in units:
        assert unit.kind in get_args(Kind)
        assert sites[unit.hook].width == len(unit.directions)
        assert sites[unit.writes].width == unit.directions.shape[1]


def test_units_times_directions_are_what_is_written_but_for_a_bias(example: Example) -> None:
    for unit in example.network.units():
        if unit.kind == "kwta_gate":  # decides about others, and writes nothing
            continue
        seen = values(example, list(dict.fromkeys((unit.hook, unit.writes))))
        rest = seen[unit.writes] - seen[unit.hook] @ unit.directions
        scale = seen[unit.writes].std().item()
        assert scale > 0
        assert (rest - rest[0]).abs().max().item() < 1e-5 * max(scale, 1), unit


def test_without_its_units_a_place_holds_its_bias(example: Example) -> None:
    """A unit that is replaced is replaced for the model: values are not a copy made to be looked at."""
    network = example.network
    for unit in network.units():
        if unit.kind == "kwta_gate":
            continue
        handle = network.get_submodule(unit.hook).register_forward_hook(lambda _, args, value: torch.zeros_like(value))
        written = captured(network, inputs_of(example), [unit.writes])[unit.writes].flatten(0, 1)
        handle.remove()
        assert (written - written[0]).abs().max().item() < 1e-5, unit


def test_neurons_have_a_way_to_the_logits(example: Example) -> None:
    """Weights alone say which tokens a unit speaks for: W_U (γ ⊙ direction), minus the mean."""
    if example.reads_twice:
        return
    for unit in example.network.units():
        if re.fullmatch(r"blocks\.\d+\.(mlp\.hook_post|hook_resid_post)", unit.hook):
            found = logit_directions(str(example.folder), unit.hook, torch.eye(len(unit.directions)))
            assert found is not None
            gain = example.network.get_submodule("ln_final").weight
            expected = (unit.directions * gain) @ example.network.get_submodule("embed").weight.T
            expected = expected[:, : len(example.model.tokenizer)]
            assert torch.allclose(found, expected - expected.mean(1, keepdim=True), atol=1e-5)


@pytest.mark.slow
def test_it_compiles_in_one_piece_at_every_stage(example: Example) -> None:
    network, inputs = copy.deepcopy(example.network), inputs_of(example)
    torch._dynamo.reset()
    compiled = torch.compile(lambda: network.logits(**inputs), backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        for fraction in (0.0, 0.03, 0.06, 0.1, 0.2, 0.4, 1.0):
            network.at(fraction)
            assert torch.allclose(compiled(), network.logits(**inputs), rtol=0, atol=1e-5)


def test_looking_changes_nothing(example: Example) -> None:
    network, inputs = example.network, inputs_of(example)
    seen: list[str] = []
    handles = [
        network.get_submodule(unit.hook).register_forward_hook(lambda _, args, value, name=unit.hook: seen.append(name))
        for unit in network.units()
    ]
    with torch.no_grad():
        looked_at = network.logits(**inputs)
        for handle in handles:
            handle.remove()
        assert torch.allclose(looked_at, network.logits(**inputs), rtol=0, atol=1e-5)
    assert sorted(seen) == sorted(unit.hook for unit in network.units())  # once each


def test_a_later_token_changes_no_earlier_logits(example: Example) -> None:
    inputs = inputs_of(example)
    read = "decoder_input_ids" if example.reads_twice else "input_ids"
    changed = {name: value.clone() for name, value in inputs.items()}
    changed[read][:, 12:] = (changed[read][:, 12:] + 7) % 399 + 1
    with torch.no_grad():
        one, other = example.network.logits(**inputs), example.network.logits(**changed)
    assert torch.allclose(one[:, :12], other[:, :12], rtol=0, atol=1e-6)
    assert not torch.allclose(one[:, 12:], other[:, 12:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_losses_reach_every_weight(example: Example, fraction: float) -> None:
    network = example.architecture.build(seed=3).train()
    network.at(fraction)
    batch = batch_of(example)
    losses = network.losses(batch)
    assert losses["ce"].item() == pytest.approx(
        cross_entropy(network.logits(**inputs_of(example)), batch["labels"]).item(), rel=1e-5
    )
    losses["loss"].backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    assert all(loss.isfinite() and loss.ndim == 0 for loss in losses.values())


def test_a_step_of_training_lowers_the_loss(example: Example) -> None:
    network = example.architecture.build(seed=3).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    batch = batch_of(example)
    course = []
    for step in range(8):
        network.at(step / 8)
        losses = network.losses(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        with torch.no_grad():
            network.project()
        course.append(losses["ce"].item())
    assert course[-1] < course[0] - 0.2


def test_a_fresh_network_is_at_the_end_of_training(example: Example) -> None:
    inputs = inputs_of(example)
    network = copy.deepcopy(example.network)
    with torch.no_grad():
        fresh = network.logits(**inputs)
        network.at(0.0)
        network.logits(**inputs)
        network.at(1.0)
        assert torch.equal(network.logits(**inputs), fresh)


def test_bfloat16_is_finite_and_near(example: Example) -> None:
    inputs = inputs_of(example)
    with torch.no_grad():
        exact = example.network.logits(**inputs)
        with torch.autocast("cpu", torch.bfloat16):
            rough = example.network.logits(**inputs)
            losses = example.network.losses(batch_of(example))
    assert rough.isfinite().all()
    assert all(loss.isfinite() for loss in losses.values())
    # Where units compete a rounding can let another win, so the bound is on the mean.
    assert (rough.float() - exact).abs().mean() < 0.1 * exact.std()


def test_parameters_are_counted_once(example: Example) -> None:
    counts = example.network.n_parameters()
    assert set(counts) == {"embedding", "training", "other"}
    assert sum(counts.values()) == sum(weight.numel() for weight in example.network.parameters())
    assert counts["embedding"] >= 400 * 32
