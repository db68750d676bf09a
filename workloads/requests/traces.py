"""Public traces of requests, read row by row.

    azure      CSV with TIMESTAMP, ContextTokens, GeneratedTokens (Azure LLM inference traces 2023
               and 2024, github.com/Azure/AzurePublicDataset; Splitwise, arXiv 2311.18677)
    mooncake   JSON lines with timestamp in milliseconds, input_length, output_length and hash_ids,
               one to a block of 512 tokens (Mooncake, arXiv 2407.00079, sec. 4): equal leading
               blocks are a shared prefix, known from the second request that has them
    sharegpt   conversations, JSON or JSON lines, `conversations` of `from` (human, gpt) and
               `value`: each answer is a request whose prompt is all that was said before, the
               earlier turns being its prefix. Tokens are a turn's own `tokens` where it has them,
               else characters / `characters_per_token`. It has no times: arrivals give them

Rows that are no requests are refused with their line, those without an answer (0 tokens) left out.
A trace must be in the order of time. Not modeled: time zones; system prompts without a turn.
Memory: a row at a time, but for a JSON array, which is read whole, and mooncake's set of blocks.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from accel_models.explain import nearest
from workloads.requests.block import Block, Positive
from workloads.requests.lengths import whole
from workloads.requests.request import Prefix, Request, RequestsError

BLOCK = 512  # tokens to a hash, Mooncake, sec. 4
ANSWERS, QUESTIONS = ("gpt", "assistant"), ("human", "user", "system")


class Trace(Protocol):
    """A file of requests."""

    # in the order of time; arrival_s is None where the file has no times
    def read(self) -> Iterator[Request]: ...


class Azure(Block):
    """An Azure LLM inference trace."""

    file: str

    def read(self) -> Iterator[Request]:
        with _opened(self.file) as text:
            rows = csv.DictReader(text)
            names = list(rows.fieldnames or [])
            for column in ("TIMESTAMP", "ContextTokens", "GeneratedTokens"):
                if column not in names:
                    hint = nearest(column, names) if names else "the file is empty"
                    raise RequestsError(f"{self.file}:1: no column '{column}'; {hint}")
            start = None
            for row in rows:
                place = f"{self.file}:{rows.line_num}"
                try:
                    when = datetime.fromisoformat(str(row["TIMESTAMP"]).strip())
                    start = start or when
                    arrival = (when - start).total_seconds()
                except (ValueError, TypeError):
                    raise RequestsError(
                        f"{place}: TIMESTAMP: '{row['TIMESTAMP']}' is not a time like "
                        "2023-11-16 18:15:46.680590"
                    ) from None
                prompt = whole(row["ContextTokens"], f"{place}: ContextTokens")
                output = whole(row["GeneratedTokens"], f"{place}: GeneratedTokens", 0)
                if output:
                    yield Request(arrival, prompt, output)


class Mooncake(Block):
    """A trace with hashes of the prompts' blocks."""

    file: str

    def read(self) -> Iterator[Request]:
        seen: set[int] = set()
        start = None
        for place, row in _json_lines(self.file):
            missing = [k for k in ("timestamp", "input_length", "output_length") if k not in row]
            if missing:
                raise RequestsError(f"{place}: missing key '{missing[0]}'")
            when = row["timestamp"]
            if isinstance(when, bool) or not isinstance(when, (int, float)):
                raise RequestsError(f"{place}: timestamp: '{when}' is not a number of milliseconds")
            start = when if start is None else start
            prompt = whole(row["input_length"], f"{place}: input_length")
            output = whole(row["output_length"], f"{place}: output_length", 0)
            hashes = row.get("hash_ids", [])
            if not isinstance(hashes, list) or any(type(h) is not int for h in hashes):
                raise RequestsError(f"{place}: hash_ids: must be a list of whole numbers")
            shared = next((i for i, h in enumerate(hashes) if h not in seen), len(hashes))
            seen.update(hashes)
            prefix = None
            if shared:
                prefix = Prefix(str(hashes[shared - 1]), min(prompt, shared * BLOCK))
            if output:
                yield Request((when - start) / 1000, prompt, output, prefix)


class ShareGpt(Block):
    """Conversations without times."""

    file: str
    characters_per_token: Positive = Field(
        description="where a turn does not state its tokens; about 4 in English"
    )

    def read(self) -> Iterator[Request]:
        for place, row in _json_lines(self.file):
            turns = row.get("conversations", row.get("items"))
            if not isinstance(turns, list):
                raise RequestsError(f"{place}: missing list 'conversations'")
            said = before = 0  # tokens, and those that the request before it knew of
            for i, turn in enumerate(turns):
                tokens, answer = self._turn(turn, f"{place}: conversations.{i}")
                if answer and said and tokens:
                    session = str(row.get("id", place))
                    prefix = Prefix(session, before) if before else None
                    yield Request(None, said, tokens, prefix, session)
                    before = said + tokens
                said += tokens

    def _turn(self, turn: Any, place: str) -> tuple[int, bool]:
        """Tokens of a turn, and whether it is an answer."""
        if not isinstance(turn, dict) or "from" not in turn:
            raise RequestsError(f"{place}: a turn has keys 'from' and 'value'")
        if turn["from"] not in (*ANSWERS, *QUESTIONS):
            hint = nearest(turn["from"], [*ANSWERS, *QUESTIONS])
            raise RequestsError(f"{place}.from: unknown '{turn['from']}'; {hint}")
        if "tokens" in turn:
            tokens = whole(turn["tokens"], f"{place}.tokens", 0)
        elif isinstance(turn.get("value"), str):
            tokens = ceil(len(turn["value"]) / self.characters_per_token)
        else:
            raise RequestsError(f"{place}: a turn has a text 'value', or its 'tokens'")
        return tokens, turn["from"] in ANSWERS


def _opened(file: str) -> Any:
    try:
        return Path(file).open(newline="", encoding="utf-8-sig")
    except OSError as problem:
        raise RequestsError(f"{file}: cannot be read: {problem.strerror}") from None


def _json_lines(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of each line, or of each entry of one array."""
    with _opened(file) as text:
        first = text.read(1)
        text.seek(0)
        if first == "[":
            yield from _json_array(file, text)
            return
        for number, line in enumerate(text, 1):
            if line.strip():
                place = f"{file}:{number}"
                row = _parsed(line, place)
                if not isinstance(row, dict):
                    raise RequestsError(f"{place}: an object {{...}} is expected")
                yield place, row


def _json_array(file: str, text: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = _parsed(text.read(), file)
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestsError(f"{file}: entry {i + 1}: an object {{...}} is expected")
        yield f"{file}: entry {i + 1}", row


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as problem:
        line = getattr(problem, "lineno", 1)
        where = place if line == 1 else f"{place}:{line}"
        raise RequestsError(
            f"{where}: not valid JSON: {getattr(problem, 'msg', problem)}"
        ) from None


# name -> trace.
TRACES: dict[str, type[Block]] = {"azure": Azure, "mooncake": Mooncake, "sharegpt": ShareGpt}
