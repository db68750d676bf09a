"""A design: the tree from the outermost memory through the cores to their engines.

The chip's `memory` (outermost first) is shared by kinds of `cores`; each kind has its own memory
(outermost first), a matrix engine, a vector engine and its control costs. Quantities carry units in
YAML and are SI here. Every number has a source (accel_models/source.py).
Not modeled here: several chips (accel_models/system.py); die area and cost from parts other than
those given.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, WithJsonSchema

from accel_models.backing import Backing
from accel_models.engines.tile import Engine
from accel_models.engines.vector import VectorEngine
from accel_models.facts import Count, Facts, Switch
from accel_models.kernel_library import Kernels
from accel_models.kernel_library.collective import CollectiveKernels
from accel_models.kernel_library.fitted import Fitted
from accel_models.mapping_rules import MappingRules
from accel_models.memory import Memories
from accel_models.quantity import (
    BytesPerSecond,
    DollarsPerHour,
    Hertz,
    JoulesPerBit,
    Meters,
    Seconds,
    SquareMillimeters,
    Volts,
    Watts,
)
from accel_models.source import Source, parse_source, source_for

PathKey = tuple[str, ...]
MATRIX_ENGINE = "Matrix engine"  # of a registered kind: accel_models/schema.py fills the schema in


class Technology(Facts):
    """The process the die is made in."""

    node: Meters
    voltage: Volts | None = None


class Power(Facts):
    """`static` flows whenever the chip is on; above `limit` the clock gives way."""

    limit: Watts
    static: Watts
    excursion: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="share of the limit that runs of less than a second may draw more for every "
        "factor of ten: 0.2 allows 1.2 limits for 0.1 s, 1.4 for 10 ms",
    )


class Area(Facts):
    """Given die area. Without it, the areas of the parts add up."""

    die: SquareMillimeters


class Price(Facts):
    """What a chip costs to rent."""

    per_hour: DollarsPerHour


class Control(Facts):
    """What it costs to start work and to keep engines in step."""

    launch: Annotated[Seconds, Fitted(0.05e-6, 100e-6, "us")] = Field(
        description="from one op to the next: kernel launch or issue"
    )
    sync: Annotated[Seconds | None, Fitted(1e-9, 10e-6, "ns")] = Field(
        default=None, description="matrix and vector engine handing a tile over"
    )
    dispatch: Literal["dynamic", "static"] = Field(
        default="static", description="tiles dealt to cores as they fall free, or split beforehand"
    )
    overlap_engines: Switch = Field(
        default=True, description="matrix and vector engines work at the same time"
    )


class Core(Facts):
    """A kind of core and how many there are."""

    count: Count
    clock: Hertz | None = Field(default=None, description="if not the chip's")
    memory: Memories
    matrix: Annotated[Any, WithJsonSchema({"title": MATRIX_ENGINE})]
    vector: VectorEngine
    control: Control
    mapping: MappingRules = Field(
        default_factory=MappingRules, description="what mappings may do on this kind of core"
    )
    kernels: Kernels | None = Field(
        default=None,
        description="what its library's kernels do, where they are known; or the name of cores "
        "that have the same ones",
    )
    area: SquareMillimeters | None = Field(default=None, description="of one core, memory aside")

    @property
    def engine(self) -> Engine:
        """The matrix engine, typed."""
        return self.matrix


class Link(Facts):
    """A connection to other chips or the host."""

    topology: Literal["ring", "mesh", "torus", "switch", "tree", "point_to_point"]
    bandwidth: BytesPerSecond = Field(description="of one chip, each direction")
    latency: Seconds
    energy: JoulesPerBit | None = None
    library: CollectiveKernels | None = Field(
        default=None, description="what libraries reach over it; without, what the link could do"
    )


class Design(Facts):
    """An accelerator. `name` is the file's; read it with `read_design`."""

    name: str
    title: str
    technology: Technology
    clock: Hertz
    power: Power
    area: Area | None = None
    price: Price | None = None
    memory: Memories
    backing: dict[str, Backing] = Field(
        default_factory=dict,
        description="memories that no core reads: what lives there is fetched into the outermost "
        "of `memory` first",
    )
    cores: Annotated[dict[str, Core], Field(min_length=1)]
    links: dict[str, Link] = Field(default_factory=dict)
    measured_as: list[str] = Field(
        default_factory=list, description="its names in files of measurements, as in `validate`"
    )
    notes: str | None = None
    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    def source_of(self, path: PathKey) -> Source:
        """The source of the number at this key path, e.g. ("memory", "hbm", "bandwidth"); of a
        block of numbers the first one's."""
        text = source_for(self._written, path)
        if text is not None:
            return parse_source(text)
        block: Any = self._written
        for key in path:
            block = block.get(key) if isinstance(block, dict) else None
        if not isinstance(block, dict):
            raise KeyError(path)
        return self.source_of((*path, next(key for key in block if key != "source")))

    def clock_of(self, core: Core) -> float:
        """Hz that this kind of core runs at."""
        return core.clock or self.clock
