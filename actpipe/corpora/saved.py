"""Documents from a folder that `save_to_disk` of Hugging Face datasets wrote.

It is a Dataset, or a DatasetDict of which one split is read. Its Arrow files are streamed with pyarrow: the library
that wrote them would map them into memory, where what was read counts as ours until the system wants it back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from actpipe.corpora.corpus import Corpus
from actpipe.errors import Damaged, Missing

from .files import digest_of
from .tables import arrow_documents

DICT_FILE, STATE_FILE = "dataset_dict.json", "state.json"


def is_saved_dataset(path: Path) -> bool:
    return (path / DICT_FILE).is_file() or ((path / STATE_FILE).is_file() and (path / "dataset_info.json").is_file())


@dataclass(frozen=True, kw_only=True)
class SavedDataset(Corpus):
    kind: ClassVar[str] = "saved"

    path: Path
    split: str = "train"
    text_field: str = "text"

    @property
    def name(self) -> str:
        return str(self.path)

    def documents(self) -> Iterator[str]:
        for file in self._files():
            yield from arrow_documents(file, self.text_field, str(file))

    def fingerprint(self) -> str:
        return digest_of(self._files(), self.path, self.text_field)

    def _files(self) -> list[Path]:
        folder = self._folder()
        return [folder / entry["filename"] for entry in _json(folder / STATE_FILE)["_data_files"]]

    def _folder(self) -> Path:
        """The folder of the split. A lone Dataset answers to its own split's name and to the default, train."""
        if (self.path / DICT_FILE).is_file():
            splits = _json(self.path / DICT_FILE)["splits"]
        else:
            splits = ["train", *filter(None, [_json(self.path / STATE_FILE).get("_split")])]
        if self.split not in splits:
            raise Missing(f"The saved dataset {self.path} has no split {self.split!r}; it has {', '.join(splits)}.")
        return self.path / self.split if (self.path / DICT_FILE).is_file() else self.path


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(f"{file} cannot be read ({error}). Save the dataset again.") from error
