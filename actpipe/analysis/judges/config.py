"""What a judge of a report can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from actpipe.errors import Misuse

from .exam_text import PLANTED

Backend = Literal["rules", "openai", "hf", "encoder", "human"]
_NEEDS_MODEL = {
    "openai": "the name that the endpoint knows its model by",
    "hf": "smollm2, a folder or a Hugging Face name of a causal language model",
    "encoder": "minilm, or a folder with a sentence encoder",
}


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    report: Annotated[Path, "Folder of a finished report; its tables `judgements` and `explanations` are written."]
    backend: Annotated[Backend, "Who judges: rules, openai (any compatible endpoint), hf, encoder or human."] = "rules"
    model: Annotated[str | None, "Model of the judge: an endpoint's name for it, or what holds its weights."] = None
    base_url: Annotated[str | None, "Address of the endpoint, up to /v1; no other address is ever contacted."] = None
    key_variable: Annotated[str | None, "NAME of the environment variable that holds the endpoint's key."] = None
    protocols: Annotated[tuple[str, ...], "What is asked of each unit."] = ("detection", "discrimination")
    explanations: Annotated[
        str | None, "Whose explanations are judged: `own`, or a source in the report. Own where the judge can write."
    ] = None
    members: Annotated[tuple[str, ...], "Members of the report; all when empty."] = ()
    units: Annotated[int, "Units of each member, drawn among those with enough windows."] = 300
    shuffled: Annotated[bool, "Ask again with the explanation of another unit, as a control. Doubles the cost."] = True
    exam: Annotated[bool, "Have the judge take the exam first. Without it the judge is uncertified."] = True
    exam_units: Annotated[int, "Planted units of the exam; only all 40 can certify."] = len(PLANTED)
    max_calls: Annotated[int | None, "Requests of this run at most, retries included."] = None
    max_input_tokens: Annotated[int | None, "Input tokens of this run at most."] = None
    max_usd: Annotated[float | None, "Dollars of this run at most; needs both prices."] = None
    input_price: Annotated[float | None, "Dollars for a million input tokens."] = None
    output_price: Annotated[float | None, "Dollars for a million output tokens."] = None
    concurrency: Annotated[int, "Requests under way at once."] = 8
    timeout_s: Annotated[float, "Seconds for a whole response of the endpoint."] = 60.0
    retries: Annotated[int, "Times a request is sent again after 429, 5xx or silence."] = 6
    dry_run: Annotated[bool, "Send nothing; say how many calls, tokens and dollars it would take."] = False
    cache: Annotated[Path | None, "SQLite file of responses; `judge-calls.sqlite` beside the report if not given."] = (
        None
    )
    answers: Annotated[
        Path | None, "What people answered in the form, CSV or JSON. Without it the form is written."
    ] = None
    name: Annotated[str, "Who answered the form."] = "reader"
    device: Annotated[str | None, "Of the backends hf and encoder: cpu, cuda …"] = None
    seed: Annotated[int, "Draws the units and divides the windows."] = 0

    def __post_init__(self) -> None:
        if self.backend in _NEEDS_MODEL and not self.model:
            raise Misuse(f"The judge {self.backend} needs a model: give {_NEEDS_MODEL[self.backend]}.")
        if self.backend == "openai" and not self.base_url:
            raise Misuse("The judge openai needs an address, such as http://127.0.0.1:8000/v1; it has none of its own.")
        for option, least in (("units", 1), ("concurrency", 1), ("exam_units", 1), ("retries", 0)):
            if getattr(self, option) < least:
                raise Misuse(f"The judge's {option} is {getattr(self, option)}; give a number of at least {least}.")
        if self.exam_units > len(PLANTED):
            raise Misuse(f"The judge's exam_units is {self.exam_units}, and the exam has {len(PLANTED)} planted units.")
        for option in ("max_calls", "max_input_tokens", "max_usd", "input_price", "output_price"):
            value = getattr(self, option)
            if value is not None and not value >= 0:
                raise Misuse(f"The judge's {option} is {value}; give a number of at least 0, or leave it out.")
        if not self.timeout_s > 0:
            raise Misuse(f"The judge's timeout is {self.timeout_s} seconds; give a number above 0.")
        if not self.protocols:
            raise Misuse("No protocol is named, so there is nothing to ask; give at least one, such as detection.")

    @property
    def cache_path(self) -> Path:
        return self.cache or self.report.absolute().parent / "judge-calls.sqlite"
