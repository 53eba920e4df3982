"""A folder of feature batches through SAEDashboard itself; runs in the environment of `make peers`.

python load_saedashboard.py answer.json FOLDER    the batches as it writes them again, and its whole configuration
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path


def main(answer: str, folder: str) -> None:
    from sae_dashboard.neuronpedia.neuronpedia_dashboard import NeuronpediaDashboardBatch
    from sae_dashboard.neuronpedia.neuronpedia_runner_config import NeuronpediaRunnerConfig

    paths = sorted(Path(folder).glob("batch-*.json"))
    batches = [NeuronpediaDashboardBatch(**json.loads(path.read_text())) for path in paths]
    settings = NeuronpediaRunnerConfig(**json.loads((Path(folder) / "run_settings.json").read_text()))
    found = {"batches": [batch.to_dict() for batch in batches], "settings": asdict(settings)}
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
