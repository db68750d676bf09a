"""The events of a trace file, after the Chrome Trace Event Format ("Trace Event Format", Google,
2016), as far as they are written here. `tileloom schema trace` prints the JSON Schema.

Times are microseconds since the start of the trace, with fractions.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Microseconds = Annotated[float, Field(ge=0)]


class NameArguments(TypedDict, total=False):
    name: str
    sort_index: int


class MetadataEvent(TypedDict):
    """Names the process (the run) or a track, or says where the track stands."""

    ph: Literal["M"]
    name: Literal["process_name", "thread_name", "thread_sort_index"]
    pid: int
    tid: NotRequired[int]
    args: NameArguments


class BarArguments(TypedDict):
    """`op`: what ran. Of a use: its firing's number, and what it waited for. Of a folded stretch:
    how often its period repeats. Of an op: how many copies of it run. `busy_us`: of the bar's time
    in which the resource is at work, to the tick."""

    op: str
    busy_us: Microseconds
    index: NotRequired[int]
    kind: NotRequired[str]
    waited_for: NotRequired[str]
    queued_us: NotRequired[Microseconds]
    times: NotRequired[int]
    period_us: NotRequired[Microseconds]
    unrecorded: NotRequired[int]
    count: NotRequired[float]


class CompleteEvent(TypedDict):
    """A bar: one use of a resource, a folded stretch, uses that were not recorded, or an op."""

    ph: Literal["X"]
    cat: Literal["use", "folded", "unrecorded", "op"]
    name: str
    pid: int
    tid: int
    ts: Microseconds
    dur: Microseconds
    args: BarArguments


class FlowEvent(TypedDict):
    """A point of an arrow, at the begin of a bar of its track: s starts, t goes on, f ends."""

    ph: Literal["s", "t", "f"]
    cat: Literal["step"]
    name: Literal["step"]
    id: int
    pid: int
    tid: int
    ts: Microseconds
    bp: NotRequired[Literal["e"]]


class CounterEvent(TypedDict):
    """A curve's value from `ts` on."""

    ph: Literal["C"]
    name: str
    pid: int
    ts: Microseconds
    args: dict[str, float]


class TraceNotes(TypedDict):
    """About the whole file. `notes`: what is not drawn use by use."""

    title: str
    simulated_us: Microseconds
    notes: list[str]


TraceEvent = Annotated[
    MetadataEvent | CompleteEvent | FlowEvent | CounterEvent, Field(discriminator="ph")
]


class TraceDocument(TypedDict):
    """A file that ui.perfetto.dev and chrome://tracing open."""

    traceEvents: list[TraceEvent]
    displayTimeUnit: Literal["ns"]
    otherData: TraceNotes
