"""Hook names → sites: where in the model a tensor is taken, and how wide its rows are.

TransformerLens names are the vocabulary. Behind most of them stands one side of a native module, and that is hooked in
the model itself, with its own fast attention; the others are read from TransformerLens' bridge, in a pass of its own.

    blocks.9.hook_resid_post    → blocks.9.hook_out        → output of model.layers.9
    blocks.9.mlp.hook_post      → blocks.9.mlp.out.hook_in → input of model.layers.9.mlp.down_proj
    blocks.9.attn.hook_q        → where query, key and value are one matrix: the bridge
    module:model.layers.9.mlp   → output of that module;  module:PATH@input → its input
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from actpipe.errors import Missing, Misuse
from actpipe.harvest.bridge import Place
from actpipe.harvest.model import kind_of
from actpipe.harvest.native import Side
from actpipe.harvest.skeleton import Skeleton, has_rows

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

MODULE = "module:"
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_BLOCK = re.compile(r"((?:\w+_)?blocks)\.(\d+)\.")


@dataclass(frozen=True)
class Site:
    """A place in the model, `width` numbers a token: the tensor that enters or leaves the module at `path` for the
    first time in a pass, or the one that the bridge calls `path`."""

    hook: str
    path: str
    side: Side
    width: int
    through: Literal["native", "bridge"] = "native"

    def record(self) -> dict[str, str]:
        """What a store keeps of it beside name and width."""
        return {"path": self.path, "side": self.side, "through": self.through}

    @classmethod
    def recorded(cls, hook: str, record: dict[str, Any], width: int) -> Site:
        return cls(hook, record["path"], record["side"], width, record.get("through", "native"))


def find_sites(
    patterns: Iterable[str], config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> tuple[Site, ...]:
    """The sites that names and wildcards (`blocks.*.hook_resid_post`) stand for; no weights are needed.

    A wildcard takes what the native model has, each tensor once, and what only the bridge has if there is nothing else.
    """
    skeleton = Skeleton(config, tokenizer)
    chosen: dict[str, Site] = {}
    for pattern in patterns:
        found = _modules(pattern, skeleton) if pattern.startswith(MODULE) else _named(pattern, skeleton)
        chosen |= {site.hook: site for site in found}
    if not chosen:
        raise Misuse("No hook was named. Give at least one --hook, for example --hook 'blocks.0.hook_resid_post'.")
    return tuple(chosen.values())


def all_sites(config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Site]:
    """Every name that holds one row for each token; modules by their path where TransformerLens has no names."""
    skeleton = Skeleton(config, tokenizer)
    try:
        names = skeleton.places
    except Missing:
        return {site.hook: site for site in _modules(f"{MODULE}*", skeleton)}
    return {name: site for name in names if (site := _site(name, skeleton)) is not None}


def each_once(sites: Iterable[Site]) -> list[Site]:
    """One name for each place: `hook_resid_post` rather than `hook_out`."""
    best: dict[tuple[str, str, str], Site] = {}
    for site in sites:
        place = (site.through, site.path, site.side)
        if place not in best or best[place].hook.endswith((".hook_in", ".hook_out")):
            best[place] = site
    return list(best.values())


def by_kind(sites: Iterable[Site]) -> dict[str, int]:
    """{`blocks.0…29.hook_resid_post`: width}: one entry for what every block has."""
    numbers: dict[tuple[str, str, int], list[int | None]] = {}
    for site in sites:
        found = _NUMBER.search(site.hook)
        ends = (site.hook[: found.start()], site.hook[found.end() :]) if found else (site.hook, "")
        numbers.setdefault((*ends, site.width), []).append(int(found[0]) if found else None)
    return {f"{start}{_ranges(each)}{end}": width for (start, end, width), each in numbers.items()}


def _ranges(numbers: list[int | None]) -> str:
    """`0…29`, or `0,2,4…7` where some are missing; nothing for a hook that stands alone."""
    runs: list[list[int]] = []
    for number in sorted(number for number in numbers if number is not None):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}…{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def default_hooks(config: PretrainedConfig) -> tuple[str, ...]:
    """A third of the way up, where features of words have formed and predictions have not: residual stream and MLP."""
    layer = int(config.num_hidden_layers) * 3 // 10
    block = f"{'encoder_blocks' if kind_of(config) == 'encoder-decoder' else 'blocks'}.{layer}"
    return (f"{block}.hook_resid_post", f"{block}.mlp.hook_post")


def block_of(hook: str) -> tuple[str, int] | None:
    """("blocks", 9) for `blocks.9.hook_resid_post`; None outside the blocks."""
    found = _BLOCK.match(hook)
    return (found[1], int(found[2])) if found else None


def _modules(pattern: str, skeleton: Skeleton) -> list[Site]:
    """`module:PATH` and `module:PATH@input`, wildcards included."""
    wanted, _, side = pattern.removeprefix(MODULE).partition("@")
    if side not in ("", "input", "output"):
        raise Misuse(f"In the hook {pattern!r} the side is {side!r}; it is @input or @output (the default).")
    places: list[Place] = [(path, "input" if side == "input" else "output") for path in skeleton.paths]
    matched = [place for place in places if place[0] == wanted] or [p for p in places if fnmatchcase(p[0], wanted)]
    if not matched:
        close = difflib.get_close_matches(wanted, skeleton.paths, n=3, cutoff=0.6)
        raise Missing(
            f"This model has no module {wanted!r}.{_hint(close)} `print(model)` in transformers shows all of them."
        )
    found = [
        Site(f"{MODULE}{path}{'@input' if which == 'input' else ''}", path, which, skeleton.widths[path, which])
        for path, which in matched
        if (path, which) in skeleton.widths
    ]
    if not found:
        raise Misuse(f"The hook {pattern!r} does not hold one row for each token, so it cannot be harvested.")
    return found


def _named(pattern: str, skeleton: Skeleton) -> list[Site]:
    places = skeleton.places
    if pattern in places:
        site = _site(pattern, skeleton)
        if site is None:
            raise Misuse(_refusal(pattern, skeleton))
        return [site]
    matched = [name for name in places if fnmatchcase(name, pattern)]
    if not matched:
        raise Missing(_unknown(pattern, places))
    native = [site for name in matched if places[name] in skeleton.widths and (site := _site(name, skeleton))]
    found = each_once(native or [site for name in matched if (site := _site(name, skeleton))])
    if not found:
        raise Misuse(_refusal(matched[0], skeleton))
    return found


def _site(name: str, skeleton: Skeleton) -> Site | None:
    place = skeleton.places[name]
    if place is not None and place in skeleton.widths:
        return Site(name, *place, skeleton.widths[place])
    shape = skeleton.bridged_shapes.get(name)
    if shape is None or not has_rows(shape):
        return None
    return Site(name, skeleton.bridge.canonical(name), "output", shape[2:].numel(), "bridge")


def _refusal(name: str, skeleton: Skeleton) -> str:
    if skeleton.is_switched_off(name):
        return f"The hook {name!r} is a copy that TransformerLens only makes on demand; hook what it is a copy of."
    return f"The hook {name!r} does not hold one row for each token, so it cannot be harvested."


def _unknown(pattern: str, known: Iterable[str]) -> str:
    names = list(known)
    asked = block_of(pattern)
    numbers = [block[1] for name in names if (block := block_of(name)) and asked and block[0] == asked[0]]
    depth = f" Its {asked[0]} are 0 to {max(numbers)}." if asked and numbers else ""
    close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.6)
    return f"This model has no hook {pattern!r}.{depth}{_hint(close)} `actpipe info MODEL` lists all of them."


def _hint(close: list[str]) -> str:
    return f" Did you mean {' or '.join(close)}?" if close else ""
