"""The tree is the architecture: who may import whom, and what a file may be called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sae", "actpipe", "cli")
SAE_MAY_IMPORT = {"torch", "einops", "safetensors"}
SAE_MAY_IMPORT_WHERE_USED = {"scipy", "sklearn", "triton"}
EMPTY_NAMES = {"utils", "helpers", "common", "misc", "core", "base", "manager"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Absolute names of what a file imports, anywhere in it."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*start, *([node.module] if node.module else [])])


def forbidden(importer: str, name: str) -> bool:
    """Whether a module of package `importer` may not import `name`: imports go cli → actpipe → sae."""
    top = name.split(".")[0]
    return top in PACKAGES and PACKAGES.index(top) > PACKAGES.index(importer)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_from_cli_to_actpipe_to_sae(package: str) -> None:
    wrong = [(path.name, name) for path in modules(package) for name in imported(path) if forbidden(package, name)]
    assert wrong == []


def test_the_rule_finds_a_planted_violation() -> None:
    assert forbidden("sae", "actpipe.errors")
    assert forbidden("actpipe", "cli.options")
    assert not forbidden("cli", "actpipe.errors")


def test_sae_needs_torch_and_nothing_of_text_or_stores() -> None:
    known = SAE_MAY_IMPORT | SAE_MAY_IMPORT_WHERE_USED | set(sys.stdlib_module_names) | {"sae"}
    others = {name for path in modules("sae") for name in imported(path) if name.split(".")[0] not in known}
    assert others == set()


def test_sae_loads_what_few_need_only_when_it_is_used() -> None:
    """Importing sae asks for no more of them than torch does by itself."""
    ask = "import sys; {}; print([name for name in {} if name in sys.modules])"
    found = [
        subprocess.run(
            [sys.executable, "-c", ask.format(statement, sorted(SAE_MAY_IMPORT_WHERE_USED))],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for statement in ("import torch, safetensors.torch", "import sae, sae.matching, sae.recovery")
    ]  # fmt: skip
    assert found[0] == found[1]


def test_actpipe_knows_no_command_line() -> None:
    assert not [
        path for path in modules("actpipe") for name in imported(path) if name.split(".")[0] in ("click", "rich")
    ]


def test_nothing_unpickles() -> None:
    names = {(path.name, name) for package in PACKAGES for path in modules(package) for name in imported(path)}
    found = {pair for pair in names if pair[1].split(".")[0] in ("pickle", "dill", "joblib", "cloudpickle")}
    # Dictionaries of other libraries lie in files of torch.save; of pickle their reader needs the name of an error.
    assert found == {("sources.py", "pickle")}
    for package in PACKAGES:
        for path in modules(package):
            text = path.read_text(encoding="utf-8")
            loads, safe = text.count("torch.load("), text.count("weights_only=True)")
            assert loads == safe == (path.match("convert/sources.py")), path
            assert "pickle.load" not in text, path


def test_files_are_named_for_what_they_hold_and_are_not_long() -> None:
    for package in PACKAGES:
        for path in modules(package):
            assert path.stem not in EMPTY_NAMES, path
            lines = path.read_text(encoding="utf-8").count("\n")
            assert lines <= 400, f"{path} has {lines} lines: is it one thing?"
