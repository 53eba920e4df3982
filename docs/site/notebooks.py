"""A notebook as a page: its text, its code, and what the code printed when it was last run."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any


def notebook_page(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(_cell(cell) for cell in cells) + "\n"


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output, cell.get("outputs", []))])


def _output(output: dict[str, Any]) -> str:
    """A picture or HTML where there is one (charts; tables of pandas, units of a report), else the text."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        return f'<div class="output">{"".join(data["text/html"])}</div>'
    text = "".join(data.get("text/plain", output.get("text", "")))
    return f'<pre class="output">{html.escape(text)}</pre>'
