"""Every entry of every registry holds its contract, and nothing is registered by half."""

import importlib
import inspect
import pathlib
import pkgutil

import pytest

import sae
import sae.architectures
import sae.baselines
from sae.architecture import Architecture, Size
from tests.contracts import check_architecture

# Fields without a default that could serve, and fixed fields that change the arithmetic.
VARIANTS = {
    "matryoshka": [{}, {"groups": (0.5, 0.5)}, {"groups": (1.0,)}],
    "jumprelu": [{}, {"target_l0": 0.0}, {"pre_act": 1.0}],
    "tied": [{}, {"whiten": True, "bias_decay": 0.5}],
    "p_anneal": [{}, {"anneal_start": 0.9}],
}


def settings():
    for name in sae.architecture_names():
        for fields in VARIANTS.get(name, [{}]):
            yield pytest.param(name, fields, id="-".join([name, *fields]))


@pytest.mark.parametrize(("name", "fields"), list(settings()))
def test_architecture_holds_its_contract(name, fields):
    check_architecture(sae.get_architecture(name)(**fields))


def test_every_architecture_of_the_folders_is_registered():
    defined = set()
    for folder in (sae.architectures, sae.baselines):
        for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            for cls in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(cls) and issubclass(cls, Architecture) and cls.__module__ == module.name:
                    defined |= set() if inspect.isabstract(cls) else {cls}
        public = {getattr(folder, name) for name in folder.__all__}
        assert public == {cls for cls in defined if cls.__module__.startswith(folder.__name__)}
    assert defined == {sae.get_architecture(name) for name in sae.architecture_names()}


def test_every_architecture_is_described_in_the_format_page():
    page = pathlib.Path(__file__).parent.parent / "docs/reference/dictionary-format.md"
    assert [name for name in sae.architecture_names() if f"### `{name}`" not in page.read_text()] == []


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("relu", "l1", -1),
        ("topk", "k", 10),
        ("topk", "k", 0),
        ("topk", "k", 2.5),
        ("batch_topk", "k", 9.5),
        ("batch_topk", "k", 0),
        ("matryoshka", "k", 10),
        ("jumprelu", "bandwidth", 0),
        ("jumprelu", "target_l0", 10),
        ("p_anneal", "p_end", 0),
        ("p_anneal", "p_end", 1.5),
        ("p_anneal", "anneal_start", 1),
    ],
)
def test_what_cannot_be_is_refused_with_its_value(name, field, value):
    architecture = sae.get_architecture(name)()
    hyper = architecture.hyper({"k": 3} if "k" in architecture.swept else {})
    if "target_l0" in hyper:
        hyper["target_l0"] = 3.0
    with pytest.raises(ValueError, match=rf"{field}.*{value:g}|{field}.* above 0"):
        architecture.check(Size.of(6, 9), {**hyper, field: float(value)})
