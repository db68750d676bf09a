"""A mix of requests: from arrivals and lengths, or from a trace; from a line or a YAML file.

    arrivals: {poisson: {rate: 10}}
    lengths:
      prompt: {lognormal: {mean: 1024, cv: 1.2}}
      output: {fixed: {tokens: 128}}
    prefix: {tokens: 256, count: 4, share: 0.5}
    limit: {requests: 1000}

The same on a line: `poisson(rate=10)+lengths(prompt=lognormal(mean=1024,cv=1.2),output=128)+
prefix(tokens=256,count=4,share=0.5)+limit(requests=1000)`. Of a trace: `azure(trace.csv)`, or
`sharegpt(file.json,characters_per_token=4)+poisson(rate=2)`: arrivals take the place of its times.

With `prefix`, a share of the requests begins with one of `count` texts of so many tokens, each as
likely; these come before what `lengths` says. Arrivals, lengths and prefixes have streams of random
numbers of their own: changing one leaves the others as they were. Memory does not grow with the
number of requests. Not modeled: lengths that depend on each other; rates that change with time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from accel_models.explain import explained, nearest
from accel_models.facts import Count
from accel_models.reader import Document, KeyPath, Place, dotted, read_yaml
from workloads.requests.arrivals import ARRIVALS, Closed
from workloads.requests.block import Block, Positive, Share
from workloads.requests.lengths import LENGTHS
from workloads.requests.request import Prefix, Request, RequestsError
from workloads.requests.text import parse
from workloads.requests.traces import TRACES

AT_A_TIME = 1024
FAMILIES = {"arrivals": ARRIVALS, "trace": TRACES}


class PrefixText(Block):
    """Texts that requests begin with."""

    tokens: Count
    count: Count = Field(default=1, description="different texts")
    share: Share = Field(default=1.0, description="of requests that begin with one")


class LimitText(Block):
    """Where the mix ends: at whichever comes first."""

    requests: Count | None = None
    seconds: Positive | None = None


class Mix(Block):
    """What has been read: `arrivals` or `trace`, or both; `prompt` and `output` without a trace."""

    arrivals: Any = None
    trace: Any = None
    prompt: Any = None
    output: Any = None
    prefix: PrefixText | None = None
    limit: LimitText = LimitText()

    @property
    def closed(self) -> Closed | None:
        """The users of a closed loop; None of an open one."""
        return self.arrivals if isinstance(self.arrivals, Closed) else None


def read_mix(text: str) -> Mix:
    """The mix of a YAML file, or of a line such as `poisson(rate=10)+lengths(prompt=1024,
    output=128)`. Raises RequestsError with every problem, a line each."""
    if text.endswith((".yaml", ".yml")) and "(" not in text:
        return _mix(read_yaml(Path(text)))
    data: dict[str, Any] = {}

    def keys(name: str) -> list[str]:
        if name not in PARTS:
            raise RequestsError(f"'{text}': unknown '{name}'; {nearest(name, list(PARTS))}")
        return PARTS[name]

    for name, arguments in parse(text, keys):
        family = next((key for key, known in FAMILIES.items() if name in known), None)
        key, value = (family, {name: arguments}) if family else (name, arguments)
        if key in data:
            raise RequestsError(f"'{text}': {key} is given twice; keep one")
        data[key] = value
    return _mix(Document(data, {(): Place(f"'{text}'", 0)}))


# every name of a line -> its keys, in order
PARTS: dict[str, list[str]] = {
    **{name: list(block.model_fields) for name, block in (ARRIVALS | TRACES | LENGTHS).items()},
    "lengths": ["prompt", "output"],
    "prefix": list(PrefixText.model_fields),
    "limit": list(LimitText.model_fields),
}


Problem = tuple[KeyPath, str]


def _mix(document: Document) -> Mix:
    data, problems, found = document.data, list[Problem](), dict[str, Any]()
    known = ("arrivals", "trace", "lengths", "prefix", "limit")
    names = [*known, *ARRIVALS, *TRACES]
    problems += [
        ((key,), f"unknown key '{key}'; {nearest(key, names)}") for key in data if key not in known
    ]
    for key, family in FAMILIES.items():
        if key in data:
            found[key] = _one(data[key], (key,), family, problems)
    lengths = data.get("lengths", {})
    if not isinstance(lengths, dict):
        problems.append((("lengths",), "must be a mapping with prompt and output"))
        lengths = {}
    for key, value in lengths.items():
        if key in ("prompt", "output"):
            found[key] = _one(value, ("lengths", key), LENGTHS, problems)
        else:
            near = nearest(key, ["prompt", "output"])
            problems.append((("lengths", key), f"unknown key '{key}'; {near}"))
    for key, model in (("prefix", PrefixText), ("limit", LimitText)):
        if key in data:
            found[key] = _block(model, data[key], (key,), problems)
    problems = problems or list(_contradictions(data, found))
    if problems:
        lines = [_line(document, path, what) for path, what in problems]
        raise RequestsError("\n".join(dict.fromkeys(lines)))
    return Mix(**found)


def _line(document: Document, path: KeyPath, what: str) -> str:
    place = document.place(path)
    shown = place.file if not place.line else str(place)
    return f"{shown}: {dotted(path)}: {what}" if path else f"{shown}: {what}"


def _one(value: Any, path: KeyPath, family: dict[str, type[Block]], problems: list[Problem]) -> Any:
    """The block of a mapping with one key, the name of a member; a number is a fixed length."""
    if family is LENGTHS and isinstance(value, int):
        value = {"fixed": {"tokens": value}}
    if not isinstance(value, dict) or len(value) != 1:
        problems.append((path, f"one of {', '.join(family)}, with its keys, is needed"))
        return None
    ((name, keys),) = value.items()
    if name not in family:
        problems.append(((*path, name), f"unknown '{name}'; {nearest(name, list(family))}"))
        return None
    return _block(family[name], keys, (*path, name), problems)


def _block(model: type[Block], data: Any, path: KeyPath, problems: list[Problem]) -> Any:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems += explained(error, model, data, path)
        return None


def _contradictions(data: dict[str, Any], found: dict[str, Any]) -> Iterator[Problem]:
    trace = data.get("trace")
    if trace is None and "arrivals" not in data:
        names = ", ".join((*ARRIVALS, *TRACES))
        yield (), f"when do requests come? One of {names} is needed"
    if trace is not None and "lengths" in data:
        yield ("lengths",), "a trace has lengths of its own; remove one of the two"
    if trace is not None and "prefix" in data:
        yield ("prefix",), "a trace has prefixes of its own; remove one of the two"
    if trace is None:
        for key in ("prompt", "output"):
            if key not in found:
                yield ("lengths",), f"missing '{key}': lengths(prompt=1024,output=128)"
    elif "sharegpt" in trace and "arrivals" not in data:
        yield ("trace",), "conversations have no times; add arrivals such as poisson(rate=1)"
    limit = found.get("limit", LimitText())
    if "limit" in data and limit == LimitText():
        yield ("limit",), "needs requests or seconds"
    if isinstance(found.get("arrivals"), Closed) and limit.seconds is not None:
        yield ("limit", "seconds"), "a closed loop has no times of its own; limit its requests"


def requests(mix: Mix, seed: int = 0) -> Iterator[Request]:
    """The requests in the order in which they come; without a limit or a trace's end, for ever.

    The same seed gives the same requests. Raises RequestsError for a trace that cannot be read.
    """
    found = _of_trace(mix, seed) if mix.trace else _drawn(mix, seed)
    if mix.limit.seconds is not None:
        last = mix.limit.seconds
        found = takewhile(lambda request: (request.arrival_s or 0.0) <= last, found)
    return islice(found, mix.limit.requests)


def _times(mix: Mix, rng: np.random.Generator) -> Iterator[float | None]:
    """Arrivals for ever."""
    now, before = 0.0, 0
    while mix.closed:
        yield None
    while True:
        for gap in mix.arrivals.gaps(rng, AT_A_TIME, before).tolist():
            now += gap
            yield now
        before += AT_A_TIME


def _user(mix: Mix, number: int) -> str | None:
    """Requests of a closed loop are dealt to its users in turn, whole conversations at once."""
    return f"user{number % mix.closed.users}" if mix.closed else None


def _drawn(mix: Mix, seed: int) -> Iterator[Request]:
    arrivals, prompts, outputs, prefixes = np.random.default_rng(seed).spawn(4)
    times, number = _times(mix, arrivals), 0
    while True:
        lengths = zip(
            mix.prompt.draw(prompts, AT_A_TIME).tolist(),
            mix.output.draw(outputs, AT_A_TIME).tolist(),
            _prefixes(mix.prefix, prefixes),
            strict=True,
        )
        for prompt, output, prefix in lengths:
            whole = prompt + (prefix.tokens if prefix else 0)
            yield Request(next(times), whole, output, prefix, _user(mix, number))
            number += 1


def _prefixes(text: PrefixText | None, rng: np.random.Generator) -> list[Prefix | None]:
    if text is None:
        return [None] * AT_A_TIME
    which = rng.integers(text.count, size=AT_A_TIME).tolist()
    taken = (rng.random(AT_A_TIME) < text.share).tolist()
    pairs = zip(which, taken, strict=True)
    return [Prefix(f"prefix{i}", text.tokens) if begins else None for i, begins in pairs]


def _of_trace(mix: Mix, seed: int) -> Iterator[Request]:
    """The trace's, at its own times or at those of the arrivals."""
    times = _times(mix, np.random.default_rng(seed).spawn(4)[0]) if mix.arrivals else None
    last, begun, before = 0.0, -1, None
    for number, request in enumerate(mix.trace.read()):
        if times is not None:
            begun += request.session is None or request.session != before
            before = request.session
            session = _user(mix, begun) or request.session
            yield Request(next(times), request.prompt, request.output, request.prefix, session)
            continue
        if request.arrival_s < last:
            raise RequestsError(
                f"{mix.trace.file}: request {number + 1} comes {last - request.arrival_s:g} s "
                "before the one above it; sort the file by time"
            )
        last = request.arrival_s
        yield request


def file_schema() -> dict[str, Any]:
    """JSON Schema of a file of requests."""

    def one(family: dict[str, type[Block]]) -> dict[str, Any]:
        options = {name: block.model_json_schema() for name, block in family.items()}
        return {
            "type": "object",
            "properties": options,
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
        }

    length = {"anyOf": [{"type": "integer", "minimum": 1}, one(LENGTHS)]}
    properties: dict[str, Any] = {key: one(family) for key, family in FAMILIES.items()}
    properties["lengths"] = {
        "type": "object",
        "properties": {"prompt": length, "output": length},
        "required": ["prompt", "output"],
        "additionalProperties": False,
    }
    properties |= {"prefix": PrefixText.model_json_schema(), "limit": LimitText.model_json_schema()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Requests",
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": ["arrivals", "lengths"]}, {"required": ["trace"]}],
        "additionalProperties": False,
    }
