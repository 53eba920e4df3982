"""Packages that add to the registries, as pip leaves them: a module, and a folder that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sae.plugins import GROUP, Registry
from tests.command_line import surroundings

GOOD = """
from dataclasses import dataclass
from actpipe.antehoc import ARCHITECTURES, GPT
from actpipe.store.codecs.none import Identity
from actpipe.store.codecs.registry import register
import sae
from sae.architectures import TopK
from sae.registry import register as register_dictionary

assert "topk" in sae.architecture_names()  # a plugin may look up names while it is imported

@register_dictionary("mine")
@dataclass(frozen=True, kw_only=True)
class Mine(TopK):
    pass

ARCHITECTURES.add("my-gpt", type("MyGPT", (GPT,), {"name": "my-gpt", "about": "a GPT of mine"}))
register(Identity(name="plain", description="as they are", growth_bytes=0))
"""
LOOKED_UP = """
import {module}
import sae
from actpipe.antehoc import ARCHITECTURES
from actpipe.store.codecs import codec_names
print("mine" in sae.architecture_names(), "topk" in sae.architecture_names())
print("my-gpt" in ARCHITECTURES, list(ARCHITECTURES)[0], "plain" in codec_names())
"""


def installed(folder: Path, name: str, module: str) -> None:
    (folder / f"{name}.py").write_text(module, encoding="utf-8")
    described = folder / f"{name}-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}\n")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = surroundings()
    environment["PYTHONPATH"] += f":{folder}"
    return subprocess.run([sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("first", ["sae", "good"])
def test_a_plugin_adds_names_whichever_is_imported_first(tmp_path: Path, first: str) -> None:
    installed(tmp_path, "good", GOOD)
    done = python(tmp_path, "-W", "error", "-c", LOOKED_UP.format(module=first))
    assert done.stdout == "True True\nTrue gpt True\n", done.stderr


def test_a_plugin_that_cannot_be_imported_is_named_and_the_others_work(tmp_path: Path) -> None:
    installed(tmp_path, "good", GOOD)
    installed(tmp_path, "broken", "import no_such_module")
    done = python(tmp_path, "-c", LOOKED_UP.format(module="sae"))
    assert done.stdout == "True True\nTrue gpt True\n"
    said = "the plugin 'broken' (broken) cannot be imported (ModuleNotFoundError: No module named 'no_such_module'); "
    assert done.stderr.count(said) == 1


def test_a_plugin_cannot_take_a_name_that_is_ours(tmp_path: Path) -> None:
    installed(tmp_path, "thief", GOOD.replace('"mine"', '"relu"'))
    done = python(tmp_path, "-c", "import sae; assert sae.get_architecture('relu') is sae.ReLU")
    assert done.returncode == 0
    assert "two architectures are called 'relu'" in done.stderr


def test_plugins_are_listed_with_their_packages(tmp_path: Path) -> None:
    installed(tmp_path, "good", GOOD)
    done = python(tmp_path, "-m", "cli", "info", "--plugins", "--json")
    assert json.loads(done.stdout) == {"good": "good, of good 1.0"}


def test_a_registry_keeps_the_order_and_refuses_a_name_twice() -> None:
    letters = Registry("letters", {"b": 2})
    letters.add("a", 1)
    assert list(letters.items()) == [("b", 2), ("a", 1)]
    with pytest.raises(ValueError, match="two letters are called 'a': 1 and 3"):
        letters.add("a", 3)
