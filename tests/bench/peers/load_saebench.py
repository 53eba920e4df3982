"""Results of a core evaluation through SAEBench itself; runs in the environment of `make peers`.

python load_saebench.py answer.json RESULTS…    each file as it writes it again, and as its plots read it
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

# Its plots import these to draw, which reading does not need.
DRAWING = ("matplotlib", "matplotlib.pyplot", "matplotlib.colors", "matplotlib.lines", "seaborn")


def validated(path: str) -> Any:
    """As its convert_directory.py does; pydantic refuses what is missing or of the wrong type."""
    from sae_bench.evals.core.eval_output import CoreEvalOutput

    fields = json.loads(Path(path).read_text())
    assert fields.pop("eval_type_id") == "core"
    return json.loads(CoreEvalOutput(**fields).to_json())


def main(answer: str, *paths: str) -> None:
    sys.modules.update({name: MagicMock() for name in DRAWING})
    from sae_bench.sae_bench_utils.graphing_utils import get_eval_results

    plotted = get_eval_results(list(paths))
    found = {}
    for path in paths:
        name = Path(path).name
        found[name] = {"validated": validated(path), "plotted": plotted[name.removesuffix("_eval_results.json")]}
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
