"""Where each stage leaves its result and the next one looks for it.

Never `./actpipe`: a folder of that name in the working directory would shadow the package.
"""

from pathlib import Path
from typing import TypeAlias

Place: TypeAlias = Path | str  # of a store: a folder, or the URL of a prefix in an object store

OUT = Path("actpipe-out")
STORE = OUT / "store.zarr"
RUN = OUT / "sae"
REPORT = OUT / "report"
