"""dictionaries + store → tables → report: the stage behind `actpipe analyze`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe.errors import ActpipeError, Misuse
from actpipe.files import write_json
from actpipe.memory import keep_freed_memory
from actpipe.progress import Progress, silent

from .config import AnalyzeConfig
from .folder import is_whole, refuse_foreign, replaced_folder, summary_of, work_folder

if TYPE_CHECKING:
    from actpipe.harvest.model import LanguageModel

    from .collected import Collected
    from .corpus import Corpus
    from .hook_analysis import HookAnalysis
    from .inputs import Inputs
    from .model_tables import Subject
    from .passes import Gatherer
    from .probing import Labelled
    from .scores import Score
    from .table_writers import TableWriters


def analyze(config: AnalyzeConfig, progress: Progress = silent, *, inputs: Inputs | None = None) -> dict[str, Any]:
    """Write the report of a run to `config.out`, unless the one there has the same inputs.

    `inputs` in place of those that `config.run` names: dictionaries on another text than that of their training.
    Returns {"out": path, "units": features in the tables, "summary": what summary.json holds}.
    """
    from .inputs import digest, open_inputs  # torch, zarr and pyarrow take seconds to import

    keep_freed_memory()
    refuse_foreign(config.out)
    inputs = inputs or open_inputs(config)
    key = digest(inputs, config)
    existing = summary_of(config.out)
    if existing and not config.overwrite and is_whole(config.out):
        if existing.get("inputs") == key:
            progress.say(f"{config.out} is up to date: the run, the store and the options are those it was made from.")
            return _result(config.out, existing)
        progress.say(f"{config.out} was made from other inputs and is made anew.")
    with work_folder(config.out, key) as work, replaced_folder(config.out) as folder:
        summary = _write(folder, work, inputs, config, key, progress)
    return _result(config.out, summary)


def _result(out: Path, summary: dict[str, Any]) -> dict[str, Any]:
    return {"out": str(out), "units": summary["counts"]["units"], "summary": summary}


def _write(
    folder: Path, work: Path, inputs: Inputs, config: AnalyzeConfig, key: str, progress: Progress
) -> dict[str, Any]:
    from actpipe.report import write_report

    from .collected import Collected
    from .corpus import Corpus
    from .hook_analysis import HookAnalysis
    from .model_controls import model_controls, no_model_controls
    from .model_tables import labelled_texts
    from .summary import summarize
    from .table_writers import TableWriters, schemas

    texts, notes = _vocabulary(inputs.model)
    corpus = Corpus(inputs.store, inputs.slabs, config.seed, tuple(texts) or None)
    texts += [f"⟨{token}⟩" for token in range(len(texts), corpus.vocabulary)]
    scores = chosen_scores(config)
    labelled = None if config.probe is None else labelled_texts(config.probe)
    model, more = _language_model(inputs, config, progress)
    notes += more
    controls = model_controls(inputs, work, progress) if config.model_controls else no_model_controls(inputs)
    notes += controls.notes
    collected, edges = Collected(inputs.model), {}
    with gatherer(config) as gather, TableWriters(folder / "parquet", schemas(scores, config)) as writers:
        for number, hook in enumerate(inputs.hooks):
            analysis = HookAnalysis(
                inputs,
                hook,
                corpus,
                scores=scores,
                units=config.units,
                seed=config.seed,
                folder=work / f"hook-{number:03d}",
                gather=gather,
                language_model=model,
                model_controls=controls,
                progress=progress,
            )
            edges[hook] = analysis.edges.tolist()
            _write_hook(writers, analysis, scores, collected, progress)
        _write_means(writers, collected, scores, config.seed, progress)
        notes += _write_pipeline(writers, collected, corpus, scores, config, work, gather, progress)
        if model is not None and (config.effects or labelled is not None):
            notes += _write_model_tables(writers, collected.in_model, model, corpus, labelled, config, progress)
    notes += [f"{name} reads several hooks at once and is left out." for name in inputs.left_out]
    write_json(folder / "vocabulary.json", texts)
    summary = summarize(inputs, config, corpus, collected.tally, digest=key, edges=edges, notes=notes)
    write_json(folder / "summary.json", summary)
    with progress.bar("Writing the page", summary["counts"]["units"], "units") as bar:
        write_report(folder, bar.advance)
    return summary


def _write_hook(
    writers: TableWriters, analysis: HookAnalysis, scores: list[Score], collected: Collected, progress: Progress
) -> None:
    """The tables of each member, and those of members of the hook that differ in seeds."""
    from .measuring import metrics_of
    from .stability import stability

    sides = []
    for analysed in analysis.run():
        writers.write(analysed, metrics_of(scores))
        collected.add(analysed)
        sides.append(analysed.side)
    with progress.bar("Comparing seeds", None, "pairs"):
        writers.write_seeds(stability(sides))


def _write_means(
    writers: TableWriters, collected: Collected, scores: list[Score], seed: int, progress: Progress
) -> None:
    from .measuring import metrics_of
    from .member_controls import member_controls
    from .members import members_table
    from .statistics import density_points, means

    writers.write_table("members", members_table(collected.members))
    with progress.bar("Drawing intervals", None, "means"):
        metrics = metrics_of(scores)
        measured = collected.measured + member_controls(collected.members, collected.measured)
        writers.write_table("means", means(measured, metrics, seed=seed))
        headline = [metric for metric in metrics if metric.better is not None]
        writers.write_table("density_points", density_points(measured, headline, seed=seed))


def _write_pipeline(
    writers: TableWriters,
    collected: Collected,
    corpus: Corpus,
    scores: list[Score],
    config: AnalyzeConfig,
    work: Path,
    gather: Gatherer | None,
    progress: Progress,
) -> list[str]:
    """Its notes."""
    from .measuring import metrics_of
    from .pipeline import draws_again, pipeline_table

    subjects, measured = collected.in_model, collected.measured
    corpora = [corpus.divided(config.seed + draw) for draw in range(1, config.draws)]
    found = []
    if corpora:
        found = draws_again(
            subjects,
            measured,
            corpora,
            metrics=metrics_of(scores),
            scores=scores,
            seed=config.seed,
            folder=work,
            gather=gather,
            progress=progress,
        )
    table, notes = pipeline_table(subjects, measured, found)
    writers.write_table("pipeline", table)
    return notes


@contextmanager
def gatherer(config: AnalyzeConfig) -> Iterator[Gatherer | None]:
    """None where this process does all."""
    if config.workers is None and config.scheduler is None:
        yield None
        return
    from actpipe.cluster import dask_client

    from .workers import Workers

    with dask_client(scheduler=config.scheduler, workers=config.workers or 1, threads=1) as client:
        yield Workers(client)


def chosen_scores(config: AnalyzeConfig) -> list[Score]:
    """In the order of the registry."""
    from .scores import SCORES

    asked = set(SCORES) if config.scores == "all" else set(filter(None, config.scores.split(","))) - {"none"}
    if unknown := sorted(asked - set(SCORES)):
        raise Misuse(f"There is no score {unknown[0]!r}; there are {', '.join(SCORES)}. Say all, none, or a list.")
    made: list[Any] = [score() for name, score in SCORES.items() if name in asked]
    if config.encoder is None:
        return made
    from .embeddings.encoded_tiles import EncodedTiles
    from .embeddings.encoder import open_encoder

    open_encoder(config.encoder)  # what was asked for by name is there, or nothing is begun
    encoded = EncodedTiles(model=config.encoder)
    return [replace(score, embedding=encoded) if hasattr(score, "embedding") else score for score in made]


def _write_model_tables(
    writers: TableWriters,
    subjects: list[Subject],
    model: LanguageModel,
    corpus: Corpus,
    labelled: Labelled | None,
    config: AnalyzeConfig,
    progress: Progress,
) -> list[str]:
    from .model_tables import SPLICES, effects_tables, probes_table, splices_table

    notes = []
    if config.effects:
        for found in effects_tables(subjects, model, corpus, config, progress):
            if isinstance(found, str):
                notes.append(found)
            else:
                writers.write_table(*found)
        writers.write_table(SPLICES, splices_table(subjects, model, corpus, config, progress))
    if labelled is not None:
        writers.write_table("probes", probes_table(subjects, model, labelled, config.seed, progress))
    return notes


def _language_model(
    inputs: Inputs, config: AnalyzeConfig, progress: Progress
) -> tuple[LanguageModel | None, list[str]]:
    """Where something needs it, and a note where it is not to be had."""
    asked = config.effects or config.probe is not None
    if not asked and not any(member.is_of_model for member in inputs.members):
        return None, []
    from actpipe.harvest.recorded import recorded_model

    if asked:
        return recorded_model(inputs.store, None, progress=progress), []
    try:
        return recorded_model(inputs.store, None, progress=progress), []
    except ActpipeError as error:
        return None, [f"The directions of the coordinates are taken to be themselves: {str(error).rstrip('.')}."]


def _vocabulary(model: str | None) -> tuple[list[str], list[str]]:
    """The text of every token, and notes. Without the tokenizer a token is its number; no score changes."""
    texts: list[str] = []
    reason = "the store does not say which model it is from"
    if model is not None:
        from actpipe.corpora.token_text import token_texts
        from actpipe.harvest.model import load_tokenizer

        try:
            texts = token_texts(load_tokenizer(model))
        except ActpipeError as error:  # moved since the harvest
            reason = str(error)
    return texts, [] if texts else [f"Tokens are shown as numbers: {reason.rstrip('.')}."]
