"""The tree of the README: one line a file, from the first sentence of its docstring.

`python -m tests.readme_tree` prints it; tests/test_docs.py compares.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
# In the order of the data flow; inside a folder, in the order of the alphabet.
FOLDERS = (
    "actpipe",
    "actpipe/corpora",
    "actpipe/harvest",
    "actpipe/store",
    "actpipe/store/codecs",
    "actpipe/training",
    "actpipe/analysis",
    "actpipe/analysis/units",
    "actpipe/analysis/scores",
    "actpipe/analysis/embeddings",
    "actpipe/analysis/concepts",
    "actpipe/analysis/probing",
    "actpipe/analysis/sampling",
    "actpipe/analysis/stability",
    "actpipe/analysis/statistics",
    "actpipe/analysis/effects",
    "actpipe/analysis/judges",
    "actpipe/analysis/exports",
    "actpipe/antehoc",
    "actpipe/antehoc/attention",
    "actpipe/pretraining",
    "actpipe/pretraining/tasks",
    "actpipe/shipped",
    "actpipe/sparsity",
    "actpipe/factorlang",
    "actpipe/report",
    "actpipe/compare",
    "actpipe/compare/lints",
    "actpipe/convert",
    "sae",
    "sae/architectures",
    "sae/baselines",
    "sae/sparse",
    "sae/ground_truth",
    "cli",
)
NAME_COLUMNS = 24
LONGEST = 100


def tree() -> str:
    lines = []
    for folder in FOLDERS:
        lines.append(f"{folder + '/':<{NAME_COLUMNS + 2}}{_sentence(ROOT / folder / '__init__.py')}")
        lines += [
            f"  {path.name:<{NAME_COLUMNS}}{_sentence(path)}"
            for path in sorted((ROOT / folder).glob("*.py"))
            if path.name != "__init__.py"
        ]
    return "\n".join(lines)


def _sentence(path: Path) -> str:
    documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(documented.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[^.])(?<!et al)\. ", first + " ")[0].strip(" .:")
    return sentence if len(sentence) <= LONGEST else sentence[: sentence.rfind(" ", 0, LONGEST)] + " …"


if __name__ == "__main__":
    print(tree())
