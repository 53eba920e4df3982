"""store → batches → dictionaries: the stage behind `actpipe train-sae`.

What is asked for becomes a plan (groups of members); the groups that read the same rows are trained on one pass over
them, evaluated on held-out documents, and compared with each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sae
from actpipe.errors import Diverged
from actpipe.harvest.live import LiveStore
from actpipe.harvest.model import resolve_device
from actpipe.memory import keep_freed_memory
from actpipe.progress import Progress, silent
from actpipe.store import Store

from .baselines import fit_all
from .config import HELD_OUT_SHARE, TrainConfig
from .cross_entropy import model_of
from .curves import Curves, joined_lines
from .evaluation import Finished, evaluated
from .group import Group, Reads
from .matching import compared
from .plan import plan
from .ranks import Ranks
from .reading import Reading
from .run_folder import RunFolder, check_place
from .settled import check_memory, check_training, rows_to_train, settled, whole_store
from .training import Training
from .viewers import Nothing, Viewer, viewer_maker


@dataclass(frozen=True)
class TrainResult:
    out: str
    members: list[dict[str, Any]]


def train(config: TrainConfig, progress: Progress = silent) -> TrainResult:
    """Train every member of the grid, continuing what the same configuration began, and evaluate all of them.

    Under torchrun each process trains its share and all return the whole result.
    """
    keep_freed_memory()
    ranks = Ranks.of_this_process()
    config = dataclasses.replace(config, device=config.device or ranks.device)
    progress = progress if ranks.is_first else silent
    run = _Run.prepared(config, ranks, progress)
    if run.folder.is_complete:
        progress.say(f"{run.folder.path} is complete already.")
        return TrainResult(str(run.folder.path), run.folder.results())
    entries: dict[str, dict[str, Any]] = {}
    try:
        for reads, groups in groupby(ranks.mine(run.groups), key=lambda group: group.reads):
            entries |= run.trained(reads, list(groups), progress)
    finally:
        run.viewer.close()  # what it holds back would be lost
    return TrainResult(str(run.folder.path), run.finished(entries, progress))


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Everything that is known before the first step."""

    config: TrainConfig
    ranks: Ranks
    store: Store
    groups: tuple[Group, ...]
    rows: int  # that each member is trained on
    readings: dict[Reads, Reading]  # of rows to train on
    held_out: dict[Reads, Reading]
    folder: RunFolder
    viewer: Viewer

    @classmethod
    def prepared(cls, config: TrainConfig, ranks: Ranks, progress: Progress) -> _Run:
        """Refuses whatever can be refused before anything is written or removed."""
        live = config.from_model
        store = LiveStore.over(config.store, config.device, progress) if live else whole_store(config.store)
        held_out = store.held_out(HELD_OUT_SHARE)
        select = store.mask & ~held_out
        readings: dict[Reads, Reading] = {}

        def reading(reads: Reads) -> Reading:
            if reads not in readings:
                readings[reads] = Reading.of(store, reads, select, center=config.center)
            return readings[reads]

        groups = plan(config, store.hooks, raw_unit=lambda reads: reading(reads).raw_unit)
        for group in groups:
            reading(group.reads)
        rows = rows_to_train(config, store, select, held_out)
        check_training(config, groups, rows)
        check_memory(ranks.mine(groups), resolve_device(config.device))
        check_place(config.out, store)
        if config.evaluate_loss and (config.overwrite or not RunFolder(config.out).is_complete):
            model_of(store, "cpu")  # a model that is gone or has changed is found now, not after hours of training
        make_viewer = viewer_maker(config.log)
        asked = settled(config, groups, rows)
        if ranks.is_first:
            RunFolder.begin(config.out, store, asked, overwrite=config.overwrite)
        ranks.wait_for_all()
        folder = RunFolder(config.out, part=ranks.part)
        folder.require(store, asked)
        folder.require_same_processes()
        return cls(
            config=config,
            ranks=ranks,
            store=store,
            groups=groups,
            rows=rows,
            readings=readings,
            held_out={reads: dataclasses.replace(one, select=held_out) for reads, one in readings.items()},
            folder=folder,
            viewer=make_viewer(folder.path, asked) if not folder.is_complete else Nothing(),
        )

    def trained(self, reads: Reads, groups: Sequence[Group], progress: Progress) -> dict[str, dict[str, Any]]:
        """Entries of results.json of all members that read these rows, by name."""
        finished = self._trained([group for group in groups if not group.is_fitted], reads, progress)
        finished += self._fitted([group for group in groups if group.is_fitted], reads, progress)
        return evaluated(self.config, self.held_out[reads], self.folder, finished, progress)

    def _trained(self, groups: Sequence[Group], reads: Reads, progress: Progress) -> list[Finished]:
        if not groups:
            return []
        reading = self.readings[reads]
        training = Training(self.config, reading, self.folder, groups, rows=self.rows)
        trainees, seconds = training.fit(progress, Curves(self.folder, reads.name, self.viewer))
        if self.ranks.count == 1 and len(groups) == len(self.groups) and all(each.is_frozen for each in trainees):
            raise _diverged(self.groups)  # at once; members on other rows would go on
        finished = []
        for each in trainees:
            ensemble = each.ensemble
            idle = ensemble.idle >= ensemble.dead_after
            for i, member in enumerate(each.group.members):
                dictionary = ensemble.dictionary(
                    i,
                    scaling=reading.scaling,
                    target=reading.target,
                    config=self._provenance(each.group, member.name),
                ).to("cpu")
                dictionary.save(self.folder.member(member.name))
                training_of = {
                    "dead_in_training": float(idle[i, : dictionary.n].float().mean()),
                    "dead_after": ensemble.dead_after,
                    "diverged": bool(ensemble.frozen[i]),
                    "rows": ensemble.rows,
                    "seconds": seconds,
                    "rows_per_second": ensemble.rows / seconds,
                }
                finished.append(Finished(each.group, member, dictionary, training_of))
        return finished

    def _fitted(self, groups: Sequence[Group], reads: Reads, progress: Progress) -> list[Finished]:
        if not groups:
            return []
        members = [(group, member) for group in groups for member in group.members]
        provenance = {member.name: self._provenance(group, member.name) for group, member in members}
        with progress.bar("Fitting baselines", len(members), "baselines") as bar:
            dictionaries = fit_all(
                self.folder,
                groups,
                self.readings[reads],
                seed=self.config.seed,
                provenance=provenance,
                bar=bar,
                say=progress.say,
            )
        return [
            Finished(group, member, dictionary, _training_of_baseline(dictionary))
            for (group, member), dictionary in zip(members, dictionaries, strict=True)
        ]

    def finished(self, entries: dict[str, dict[str, Any]], progress: Progress) -> list[dict[str, Any]]:
        """Write what is there when all members are; of several processes, the first does."""
        if self.ranks.count > 1:
            self.folder.write_part(entries)
            self.ranks.wait_for_all()
        if self.ranks.is_first:
            self._write(entries, progress)
        self.ranks.wait_for_all()
        return self.folder.results()

    def _write(self, entries: dict[str, dict[str, Any]], progress: Progress) -> None:
        whole = RunFolder(self.folder.path)
        if self.ranks.count > 1:
            parts = self.folder.parts(self.ranks.count)
            entries = {name: entry for part, _ in parts for name, entry in part.items()}
            order = [(group.reads.name, group.name) for group in self.groups]
            names = [member.name for group in self.groups for member in group.members]
            whole.write_metrics(joined_lines([lines for _, lines in parts], order, names))
        members = [entries[member.name] for group in self.groups for member in group.members]
        if all(member["diverged"] for member in members):
            raise _diverged(self.groups)
        if len(members) > 1:
            whole.write_matching(compared(whole, members, progress))
        whole.write_results(members)

    def _provenance(self, group: Group, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "hook": group.reads.hooks[0] if len(group.reads.hooks) == 1 else group.reads.name,
            "hooks": list(group.reads.hooks),
            "target_hook": group.reads.target,
            "model": self.store.config.get("model"),
            "store": self.store.fingerprint,
        }


def _training_of_baseline(dictionary: sae.Dictionary) -> dict[str, Any]:
    training = dictionary.config["training"]
    seconds = training["seconds"]
    return {
        "dead_in_training": None,
        "dead_after": None,
        "diverged": False,
        "rows": training["rows"],
        "seconds": seconds,
        "rows_per_second": training["rows"] / seconds if seconds > 0 else None,
    }


def _diverged(groups: Sequence[Group]) -> Diverged:
    where = ", ".join(dict.fromkeys(group.reads.name for group in groups))
    return Diverged(
        f"Every dictionary on {where} met numbers that are not finite. Train again with --overwrite and a smaller --lr "
        "or smaller penalties."
    )
