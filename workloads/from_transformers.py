"""A graph from a Hugging Face transformers class: `hf:LlamaForCausalLM:path/to/config.json`.

The class is made from its configuration without weights (torch's meta device, nothing is
downloaded), run once in eager mode on inputs of the phase's size, and what it runs is noted op by
op. Matrix products, convolutions and gathers are taken as they are; attention and experts through
the interfaces that transformers offers for one's own kernels; elementwise operations fused as a
vector unit would. Layers that are alike are folded into one with a count. An operation without a
rule is an error that names it, its module and shapes.

All layers are made and run, a few seconds for the largest models; eager mode on the meta device
sees every aten operation, as an export would, and lets layers of experts and loops over tokens be
stood in for. What is known before a run (positions, masks, rotary tables, all that comes of token
ids alone) and arithmetic on parameters alone cost nothing; buffers of a checkpoint are parameters.
A prefill asks for the last token's logits (`logits_to_keep=1`).

What the trace states and an engine may do otherwise: the final norm runs on every token of a
prefill, the gather of the last one after it; latent attention expands keys and values in a decode
step too; copies into the order of heads; tables of biases gathered for every pair of positions
(`workloads.agreement` names the rules).
Not modeled: generation, padding, training; classes whose control flow depends on data.
"""

from __future__ import annotations

from kernels_ref.errors import UserError
from workloads.builders.fields import Fields
from workloads.builders.parts import storage_format
from workloads.config import ModelConfig, read_config
from workloads.graph import Graph
from workloads.phase import Phase

PREFIX = "hf:"
UPGRADE = "pip install --upgrade 'tileloom[hf]'"


def from_transformers(spec: str, phase: Phase) -> Graph:
    """The graph of `hf:CLASS:CONFIG` in a phase.

    CONFIG is what `read_config` takes: a shipped name, a path to a config.json or its directory.
    Raises UserError for a spec, class, configuration or phase that is not right, and for an
    operation that has no rule.
    """
    class_name, config = parse(spec)
    return trace(class_name, config, phase)


def parse(spec: str) -> tuple[str, ModelConfig]:
    """Class and configuration of `hf:CLASS:CONFIG`."""
    class_name, colon, source = spec.removeprefix(PREFIX).partition(":")
    if not (class_name and colon and source):
        raise UserError(
            f"'{spec}': write hf:CLASS:CONFIG, for example hf:LlamaForCausalLM:llama-3-8b"
        )
    return class_name, read_config(source)


def trace(class_name: str, config: ModelConfig, phase: Phase) -> Graph:
    """The graph of a class of transformers with this configuration."""
    from workloads.traced.model import libraries

    _, transformers = libraries()
    try:
        from workloads.traced.run import run
    except ImportError as error:
        version = transformers.__version__
        raise UserError(f"hf: transformers {version} is too old: {error}; {UPGRADE}") from error
    fields = Fields(config, class_name, config.data, "")
    number_format = storage_format(fields)
    fields.finish()
    return run(class_name, config, phase, number_format)
