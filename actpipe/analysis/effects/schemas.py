"""Tables of effects: every number with its interval over documents and how many documents it is from."""

from __future__ import annotations

import pyarrow as pa

_ESTIMATE = [("value", pa.float64()), ("low", pa.float64()), ("high", pa.float64()), ("n", pa.int64())]

SCHEMAS = {
    # One number of one unit.
    "effects": pa.schema([("unit", pa.int32()), ("metric", pa.string()), *_ESTIMATE]),
    # One number of a set of units. `arm`: "units", or what they are held against in a task.
    "fidelity": pa.schema([("metric", pa.string()), ("arm", pa.string()), *_ESTIMATE]),
    # One point of a curve; unit −1: of the whole set. `low` and `high` are of y.
    "curves": pa.schema(
        [
            ("unit", pa.int32()),
            ("kind", pa.string()),
            ("arm", pa.string()),
            ("step", pa.float64()),
            ("x", pa.float64()),
            ("y", pa.float64()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("n", pa.int64()),
        ]
    ),
    # What answering the rows of a hook costs the model; hook "all": all of them at once, of no single member.
    "splices": pa.schema([("member", pa.string()), ("hook", pa.string()), ("metric", pa.string()), *_ESTIMATE]),
}
