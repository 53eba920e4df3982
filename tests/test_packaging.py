"""What `pip install` gets is what the folders hold."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import actpipe

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders() -> set[str]:
    """Every folder with Python in it, under the name it is imported by; cli ships as actpipe_cli."""
    found = set()
    for package in ("actpipe", "sae", "cli"):
        for init in (ROOT / package).rglob("__init__.py"):
            parts = list(init.parent.relative_to(ROOT).parts)
            parts[0] = "actpipe_cli" if parts[0] == "cli" else parts[0]
            found.add(".".join(parts))
    return found


def test_the_package_list_equals_the_folders() -> None:
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == folders()


def test_every_folder_of_modules_is_a_package() -> None:
    for package in ("actpipe", "sae", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path.parent


def test_there_is_one_version() -> None:
    assert SETTINGS["project"]["version"] == actpipe.__version__


@pytest.mark.slow
def test_the_wheel_carries_every_file_the_program_opens(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package, name in (("actpipe", "actpipe"), ("sae", "sae"), ("cli", "actpipe_cli")):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{name}/{path.relative_to(ROOT / package)}" in inside
