"""The form for people: one file, no network, texts as data that the page never interprets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from actpipe.files import write_bytes

from .human_judge import Item

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Judge explanations</title>
<meta http-equiv="Content-Security-Policy" 
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 17px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
blockquote { border: 1px solid #bbb; border-radius: 4px; margin: 1rem 0; padding: .8rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
mark { background: #ffd97a; } button { font: inherit; padding: .5rem 1.2rem; margin-right: .5rem; }
#explanation { font-weight: 600; overflow-wrap: anywhere; } #place { color: #666; }
</style></head><body>
<p id="place" role="status"></p>
<p>A unit of a language model fires where: <span id="explanation"></span></p>
<p id="question"></p>
<div id="passages"></div>
<p id="answers"></p>
<p><button id="back">Back</button><button id="csv">Save answers as CSV</button><button id="json">as JSON</button></p>
<script type="application/json" id="items">@ITEMS@</script>
<script>
"use strict";
const items = JSON.parse(document.getElementById("items").textContent);
const store = "actpipe-judge-@NAME@";
const words = {
  detect: ["Going by that, does it fire anywhere in this text?", [["Yes (1)", 1], ["No (0)", 0]]],
  mark: ["Going by that, are the marked places those where it fires?", [["Yes (1)", 1], ["No (0)", 0]]],
  tell: ["It fires on exactly one of these texts. Going by that, on which?",
    [["The first (1)", 1], ["The second (0)", 0]]],
};
let given = {}, place = 0;
try { given = JSON.parse(localStorage.getItem(store)) || {}; } catch (error) { given = {}; }
const by = (id) => document.getElementById(id);
const first = () => { const i = items.findIndex((item) => !(item.name in given)); return i < 0 ? items.length : i; };
function show() {
  const item = items[place], done = items.filter((i) => i.name in given).length;
  by("place").textContent = `${done} of ${items.length} answered`;
  for (const id of ["explanation", "question"]) by(id).textContent = "";
  by("passages").replaceChildren(); by("answers").replaceChildren();
  if (!item) {
    by("question").textContent = "All are answered. Save the answers and give the file to actpipe."; return;
  }
  by("explanation").textContent = item.explanation;
  by("question").textContent = words[item.kind][0];
  for (const passage of item.passages) {
    const quote = document.createElement("blockquote");
    for (const [text, marked] of passage) {
      const piece = document.createElement(marked ? "mark" : "span");
      piece.textContent = text; quote.append(piece);
    }
    by("passages").append(quote);
  }
  for (const [label, value] of words[item.kind][1]) {
    const button = document.createElement("button");
    button.textContent = label; button.onclick = () => answer(value); by("answers").append(button);
  }
}
function answer(value) {
  if (!items[place]) return;
  given[items[place].name] = value;
  try { localStorage.setItem(store, JSON.stringify(given)); } catch (error) { /* a file may have no storage */ }
  place = first(); show();
}
function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type })); link.download = name; link.click();
}
const csv = () => "item,answer\\n" + Object.entries(given).map((row) => row.join(",") + "\\n").join("");
by("csv").onclick = () => save("answers.csv", csv(), "text/csv");
by("json").onclick = () => save("answers.json", JSON.stringify(given), "application/json");
by("back").onclick = () => { place = Math.max(0, place - 1); show(); };
document.onkeydown = (event) => { if (event.key === "1" || event.key === "0") answer(Number(event.key)); };
place = first(); show();
</script></body></html>
"""


def write_form(path: Path, items: Sequence[Item]) -> None:
    content = [
        {
            "name": item.name,
            "kind": item.kind,
            "explanation": item.explanation,
            "passages": [passage.runs for passage in item.passages],
        }
        for item in items
    ]
    # Inside a script element only "<" could end it or begin a comment; in JSON it may be written as its number.
    data = json.dumps(content, ensure_ascii=True).replace("<", "\\u003c")
    name = hashlib.sha256(data.encode()).hexdigest()[:12]
    write_bytes(path, _PAGE.replace("@NAME@", name).replace("@ITEMS@", data).encode())
