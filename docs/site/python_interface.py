"""The Python interface as pages: what is meant for others, read by mkdocstrings from its docstrings."""

from __future__ import annotations

# Page → its title and what it shows, each with the names that are meant for others (None: all public ones).
PAGES: dict[str, tuple[str, dict[str, list[str] | None]]] = {
    "actpipe": ("actpipe", {"actpipe": ["open_store", "open_report"]}),
    "store": ("Stores", {"actpipe.store.store": ["Store"], "actpipe.store.batches": ["Batch"]}),
    "report": ("Reports", {"actpipe.report.opened": None}),
    "stages": (
        "The stages",
        {
            "actpipe.harvest.stage": ["harvest"],
            "actpipe.harvest.config": ["HarvestConfig"],
            "actpipe.training.stage": ["train"],
            "actpipe.training.config": ["TrainConfig"],
            "actpipe.analysis.stage": ["analyze"],
            "actpipe.analysis.config": ["AnalyzeConfig"],
            "actpipe.compare.stage": ["compare"],
            "actpipe.compare.config": ["CompareConfig"],
            "actpipe.sparsity.stage": ["measure_sparsity"],
            "actpipe.sparsity.config": ["SparsityConfig"],
            "actpipe.errors": None,
        },
    ),
    "antehoc": (
        "Models that are sparse by training",
        {"actpipe.antehoc.architecture": None, "actpipe.antehoc.units": None},
    ),
    "factorlang": ("FactorLang", {"actpipe.factorlang": None}),
    "sae": ("sae", {"sae": None}),
}


def python_pages() -> dict[str, str]:
    """Path below docs/ → Markdown with the directives of mkdocstrings."""
    return {f"python/{name}.md": _page(title, modules) for name, (title, modules) in PAGES.items()}


def _page(title: str, modules: dict[str, list[str] | None]) -> str:
    return "\n\n".join([f"# {title}", *(_directive(*each) for each in modules.items())]) + "\n"


def _directive(module: str, names: list[str] | None) -> str:
    lines = [f"::: {module}", "    options:", "      show_root_heading: false", "      show_root_toc_entry: false"]
    return "\n".join(lines + ([f"      members: [{', '.join(names)}]"] if names else []))
