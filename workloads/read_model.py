"""What MODEL means, on the command line and in Python: a name, or a file of one of several kinds.

    llama-3-8b, path/to/config.json     a configuration; ops by this project's builders
    hf:CLASS:path/to/config.json        the transformers class, traced
    onnx:model.onnx                     an exported graph
    ops:my_block.yaml                   einsums and other ops, written down

A new kind is a function `text after the colon -> Model` and a line in SOURCES. A file is read once;
a graph is built for each phase, except that the last two are one graph: they run as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from workloads.builders import SHAPES, describe
from workloads.builders.encoder_spec import EncoderDecoderSpec
from workloads.config import ModelConfig, read_config
from workloads.graph import Graph
from workloads.phase import Phase

_PREFIX = re.compile(r"([A-Za-z_]\w+):(?![/\\]{2})")


@dataclass(frozen=True)
class Model:
    """`of_phase` makes the graph of a phase; or `fixed` is the one graph there is."""

    name: str
    of_phase: Callable[[Phase], Graph] | None = None
    fixed: Graph | None = None
    phases: tuple[str, ...] = ("encode", "prefill", "decode", "verify")
    source: str = ""  # what an encoder before the decoder is given: a "prompt", or "sound"

    def build(self, phase: Phase | None = None) -> Graph:
        """The graph. Raises UserError for a phase of a graph that has none, or for none where
        there are some."""
        if self.fixed is not None:
            if phase is not None:
                raise UserError(no_phases(self.name))
            return self.fixed
        if phase is None or self.of_phase is None:
            raise UserError(f"{self.name}: which phase? It has several")
        return self.of_phase(phase)


def no_phases(name: str, given: str = "a phase") -> str:
    """Why a phase, or an option of one, cannot be given."""
    return (
        f"{name} is one graph with its own shapes, which runs as it is: {given} cannot be "
        "given; leave it out"
    )


def _from_config(name_or_path: str) -> Model:
    return of_config(read_config(name_or_path))


def of_config(config: ModelConfig) -> Model:
    """The model of a configuration."""
    spec = describe(config)
    source = ""
    if isinstance(spec, EncoderDecoderSpec):
        source = "sound" if spec.fixed else "prompt"
    shape = SHAPES[type(spec)]
    return Model(
        config.name,
        lambda phase: shape.build(config.name, spec, phase),
        phases=shape.phases,
        source=source,
    )


def _traced(spec: str) -> Model:
    shown = f"hf:{spec}"
    if not all(spec.partition(":")[::2]):
        raise UserError(f"'{shown}': write hf:CLASS:config.json, such as hf:BertModel:config.json")
    from workloads.from_transformers import from_transformers

    return Model(shown, lambda phase: from_transformers(spec, phase))


def _exported(spec: str) -> Model:
    from workloads.from_onnx import from_onnx

    graph = from_onnx(spec)
    return Model(graph.name, fixed=graph)


def _written(path: str) -> Model:
    from workloads.ops_file import read_ops

    graph = read_ops(path)
    return Model(graph.name, fixed=graph)


# prefix -> what follows it to a model.
SOURCES: dict[str, Callable[[str], Model]] = {
    "hf": _traced,
    "onnx": _exported,
    "ops": _written,
}
FORMS = "hf:CLASS:config.json, onnx:FILE, ops:FILE.yaml"


def read_model(text: str) -> Model:
    """The model that MODEL names. Raises UserError: no such source, name or file, or whatever is
    wrong with what it names."""
    prefix = source_of(text)
    if prefix is None:
        return _from_config(text)
    rest = text.partition(":")[2]
    if prefix not in SOURCES:
        near = nearest(prefix, list(SOURCES))
        raise UserError(
            f"'{text}': no source of models '{prefix}:'; {near} A model is a shipped name, a "
            f"path to a config.json, or {FORMS}"
        )
    if not rest:
        raise UserError(f"'{text}': what follows '{prefix}:'? Write {FORMS}")
    return SOURCES[prefix](rest)


def source_of(text: str) -> str | None:
    """The prefix of a source, known or not; None for a name or path of a configuration."""
    match = _PREFIX.match(text)
    if match is None or (match[1] not in SOURCES and os.path.exists(text)):
        return None
    return match[1]
