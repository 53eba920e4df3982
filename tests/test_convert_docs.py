"""The commands of docs/how-to/convert.md run, in order, on stand-ins of its files."""

from __future__ import annotations

import json
from pathlib import Path

import sae
from actpipe.convert import FORMATS
from actpipe.convert.ours import FORMS
from tests import foreign
from tests.command_line import run
from tests.small_run import HOOK, make_run, make_store
from tests.test_docs import ROOT, commands

PAGE = ROOT / "docs" / "how-to" / "convert.md"


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    store = make_store(tmp_path / "actpipe-out" / "store.zarr")
    make_run(tmp_path / "actpipe-out" / "sae", store)
    # As the stored rows are wide: the stand-ins of tests/foreign.py are for rows of another width.
    member = tmp_path / "actpipe-out" / "sae" / "members" / "sparse"
    config = json.loads((member / "config.json").read_text())
    (member / "config.json").write_text(json.dumps({**config, "hook": HOOK}))
    foreign.gemma_scope(tmp_path / "gemma-scope-2b-pt-res")
    foreign.sparsify(tmp_path / "layers.10")
    done = run(tmp_path, "convert", str(member), "trainer_0", "--to", "dictionary_learning")
    assert done.returncode == 0, done.stderr
    ran = 0
    for command in commands(PAGE):
        words = [word.replace("MEMBER", "sparse").replace("HOOK", HOOK) for word in command[1:]]
        done = run(tmp_path, *words)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        ran += 1
    assert ran == 7
    assert sae.load(tmp_path / "imported").config["hook"] == "blocks.12.hook_resid_post"


def test_the_page_names_every_format_and_every_architecture_that_is_exported() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [each.name for each in FORMATS if f"| `{each.name}` |" not in page] == []
    assert [name for name in FORMS if f"`{name}`" not in page] == []
