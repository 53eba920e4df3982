"""Every entry of every registry holds its contract, and nothing is registered by half."""

import ast
import importlib
import pathlib

import pytest

import sae
import sae.architectures
from tests.contracts import check_architecture


@pytest.mark.parametrize("name", sae.architecture_names())
def test_architecture_holds_its_contract(name):
    check_architecture(sae.get_architecture(name)())


def test_every_file_of_architectures_is_registered():
    folder = pathlib.Path(sae.architectures.__file__).parent
    defined = set()
    for path in folder.glob("[!_]*.py"):
        module = importlib.import_module(f"sae.architectures.{path.stem}")
        classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        defined |= {c for c in classes if issubclass(getattr(module, c), sae.Architecture)}
    registered = {sae.get_architecture(name).__name__ for name in sae.architecture_names()}
    assert defined == registered == set(sae.architectures.__all__)


def test_every_architecture_is_described_in_the_format_page():
    page = pathlib.Path(__file__).parent.parent / "docs/reference/dictionary-format.md"
    assert [name for name in sae.architecture_names() if f"### `{name}`" not in page.read_text()] == []
