"""The columns of the report's tables, as docs/reference/report-format.md lists them."""

from __future__ import annotations

import pyarrow as pa

METADATA = {"actpipe.format": "report", "actpipe.version": "1"}

_TEXT, _FLAG = pa.string(), pa.bool_()
_I8, _I32, _I64, _F32, _F64 = pa.int8(), pa.int32(), pa.int64(), pa.float32(), pa.float64()
# "element" is what Parquet calls the members of a list.
_I32S, _I64S, _F32S = (pa.list_(pa.field("element", kind)) for kind in (_I32, _I64, _F32))

SCORES = ("token_entropy", "effective_tokens", "purity", "specificity", "token_r2", "token_r2_raw")
_SCORE_COLUMNS = dict.fromkeys(SCORES, _F32)

COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "members": {
        "member": _TEXT,
        "path": _TEXT,
        "hook": _TEXT,
        "architecture": _TEXT,
        "kind": _TEXT,
        "writes": _TEXT,
        "stream": _TEXT,
        "width": _I32,
        "units": _I32,
        "l1": _F32,
        "k": _I32,
        "seed": _I64,
        **dict.fromkeys(("l0", "fvu", "dead", "delta_ce", "loss_recovered", "loss_recovered_mean"), _F32),
        "rows": _I64,
        "rows_per_second": _F32,
        "analysed_l0": _F32,
        **dict.fromkeys(("alive_units", "dead_units", "dense_units", "token_units"), _I32),
        **{f"median_{s}": _F32 for s in ("token_r2", "token_entropy", "effective_tokens", "purity", "density")},
        **{f"{kind}_{s}": _F32 for kind in ("random", "shuffled") for s in ("token_r2", "token_entropy")},
    },
    "units": {
        "member": _TEXT,
        "feature": _I32,
        "sign": _I8,
        "alive": _FLAG,
        "count": _I64,
        "density": _F64,
        **dict.fromkeys(("mean_active", "std_active", "skew_active", "kurtosis_active", "max"), _F32),
        **_SCORE_COLUMNS,
        "distinct_tokens": _I32,
        "top_tokens": _I32S,
        "top_token_share": _F32S,
        "top_logit_tokens": _I32S,
        "top_logits": _F32S,
        "bottom_logit_tokens": _I32S,
        "bottom_logits": _F32S,
        "neighbour": _I32,
        "neighbour_cosine": _F32,
    },
    "examples": {
        "member": _TEXT,
        "feature": _I32,
        "sign": _I8,
        **dict.fromkeys(("rank", "document", "sequence", "position"), _I32),
        "tokens": _I32S,
        "activations": _F32S,
        "peak": _I32,
    },
    "histograms": {"member": _TEXT, "feature": _I32, "sign": _I8, "bins": _I64S},
    "controls": {
        "member": _TEXT,
        "control": _TEXT,
        "unit": _I32,
        "count": _I64,
        "density": _F64,
        **_SCORE_COLUMNS,
    },
    "scores": {
        "member": _TEXT,
        "feature": _I32,
        "sign": _I8,
        "control": _TEXT,
        "metric": _TEXT,
        "value": _F64,
    },
}


def schema(table: str) -> pa.Schema:
    return pa.schema(list(COLUMNS[table].items()), metadata=METADATA)
