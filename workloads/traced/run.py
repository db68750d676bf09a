"""One run of a model on meta tensors, from its configuration to the graph."""

from __future__ import annotations

from kernels_ref.formats import Format
from workloads.config import ModelConfig
from workloads.graph import Graph
from workloads.phase import Phase
from workloads.traced.elementwise import finish
from workloads.traced.events import TraceError
from workloads.traced.fold import fold
from workloads.traced.fuse import fuse
from workloads.traced.inputs import call
from workloads.traced.interfaces import installed
from workloads.traced.known import replaced
from workloads.traced.model import make_model, stacks
from workloads.traced.recorder import Recorder, watching
from workloads.traced.write import Sizes, write


def run(class_name: str, config: ModelConfig, phase: Phase, number_format: Format) -> Graph:
    """Make the model, run it, and write what it did. Raises TraceError where that is impossible."""
    recorder = Recorder(phase.batch)
    with installed(recorder):
        model = make_model(class_name, config, number_format.name)
        try:
            with replaced(recorder, model), watching(recorder, model):
                done = call(model, phase, recorder)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            # what torch raises where a program asks a meta tensor for its values, and models for
            # inputs that they do not take
            raise TraceError(
                f"{class_name}: {recorder.module or 'the model'} cannot be traced: "
                f"{str(error).splitlines()[0]}"
            ) from error
    events = [finish(event) for event in fuse(recorder.events)]
    used = {value for event in events for value in event.inputs}
    idle = [value for value in recorder.parameters if value not in used]
    kept = fold(events, stacks(model))
    sizes = Sizes(done, getattr(model.config, "max_position_embeddings", None))
    return write(config.name, kept, idle, sizes, number_format)
