"""Configuration → a judge that is ready to answer, and what must be closed and counted afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actpipe.errors import Missing
from actpipe.progress import Progress

from .call_cache import CallCache
from .calls import Calls, Patience
from .config import JudgeConfig
from .judge import Judge
from .ledger import Budget, Ledger
from .questions import Surprise
from .requests import Capabilities, TextModel
from .rule_judge import RuleJudge

_UNITS_AT_ONCE = 2  # the requests of one unit go side by side; a second unit fills the gaps between its questions


@dataclass(frozen=True)
class Opened:
    judge: Judge
    threads: int = 1
    calls: Calls | None = None  # of judges whose answers cost something

    def stop(self) -> None:
        if self.calls is not None:
            self.calls.stop("it was interrupted.")

    def close(self) -> None:
        self.judge.close()
        if self.calls is not None:
            self.calls.cache.close()


def open_judge(config: JudgeConfig, asked: set[type], progress: Progress) -> Opened:
    """`asked`: kinds of question that will be put to it."""
    return BACKENDS[config.backend](config, asked, progress)


def _rules(config: JudgeConfig, asked: set[type], progress: Progress) -> Opened:
    return Opened(RuleJudge())


def _encoder(config: JudgeConfig, asked: set[type], progress: Progress) -> Opened:
    from actpipe.analysis.embeddings.encoder import open_encoder

    from .encoder_judge import EncoderJudge

    encoder = open_encoder(str(config.model), config.device or "cpu")
    return Opened(EncoderJudge(Path(encoder.name).name, encoder.embed))


def _human(config: JudgeConfig, asked: set[type], progress: Progress) -> Opened:
    from .human_judge import HumanJudge, read_answers

    return Opened(HumanJudge(config.name, read_answers(config.answers) if config.answers else {}))


def _openai(config: JudgeConfig, asked: set[type], progress: Progress) -> Opened:
    from .endpoint import Endpoint, Secret
    from .probing_endpoint import capabilities_of

    model = Endpoint(
        base_url=str(config.base_url),
        model=str(config.model),
        key=Secret(_key(config)),
        timeout_s=config.timeout_s,
        concurrency=config.concurrency,
    )
    calls = _calls(config, model)
    return _language_judge(config, calls, capabilities_of(calls, likelihood=Surprise in asked))


def _hf(config: JudgeConfig, asked: set[type], progress: Progress) -> Opened:
    from actpipe.harvest.model import load_model

    from .local_model import LocalModel

    model = LocalModel(load_model(str(config.model), device=config.device, progress=progress))
    can = Capabilities(choose=True, schema=True, likelihood=True, scale=True)
    return _language_judge(config, _calls(config, model), can)


def _language_judge(config: JudgeConfig, calls: Calls, can: Capabilities) -> Opened:
    from .language_judge import LanguageJudge

    return Opened(LanguageJudge(calls, can, seed=config.seed), _UNITS_AT_ONCE, calls)


def _calls(config: JudgeConfig, model: TextModel) -> Calls:
    from .rehearsal import Rehearsal

    budget = Budget(
        max_calls=config.max_calls,
        max_input_tokens=config.max_input_tokens,
        max_usd=config.max_usd,
        input_price=config.input_price,
        output_price=config.output_price,
    )
    path = config.cache_path
    if config.dry_run:  # it counts what a run would spend, whatever the budget, and leaves no file
        budget = Budget(input_price=config.input_price, output_price=config.output_price)
        model, path = Rehearsal(model), path if path.is_file() else Path(":memory:")
    return Calls(model, CallCache(path), Ledger(budget), Patience(retries=config.retries), seed=config.seed)


def _key(config: JudgeConfig) -> str:
    if config.key_variable is None or config.dry_run:
        return ""
    value = os.environ.get(config.key_variable, "")
    if not value.strip():
        raise Missing(
            f"The environment variable {config.key_variable} is empty; it should hold the key of the judge's endpoint. "
            "Give the name of the variable, never the key itself."
        )
    return value


BACKENDS: dict[str, Callable[[JudgeConfig, set[type], Progress], Opened]] = {
    "rules": _rules,
    "openai": _openai,
    "hf": _hf,
    "encoder": _encoder,
    "human": _human,
}
