"""What a measured server runs: which model in which formats, over how many chips, for whom.

`tp_size` chips hold one copy of the model. Attention is copied `attention_dp_size` times over them,
each copy for its part of the requests and with the heads split over the chips of a copy; experts
are split `moe_ep_size` ways and their width `moe_tp_size` ways. Where attention_dp_size is empty,
it is the ratio of concurrency and batch_size if that is tp_size. A copy of the model has
batch_size * attention_dp_size requests; `concurrency` may be that of several copies.
Not modeled: pipeline parallel rows, drafts (their answers would come in several tokens a step).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache as once

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from sim.measured.cases import Case
from sim.measured.servers import Client, Server, backend_of, benchmark_of, clients, servers
from workloads.builders import describe
from workloads.builders.spec import DecoderSpec
from workloads.config import read_config
from workloads.graph import Graph

COLUMNS = ("backend", "model", "gemm_quant_mode", "isl", "osl", "batch_size", "concurrency",
           "tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A shipped configuration; `experts_only`: the rest stays in 16 bits where it is quantized."""

    config: str
    experts_only: bool = False


# Names in measurements -> shipped models. Llama 3.1 has the sizes of Llama 3,
# DeepSeek-R1 and V3.1 those of V3.
MODELS: dict[str, Checkpoint] = {
    "Qwen/Qwen3-32B": Checkpoint("qwen3-32b"),
    "nvidia/Qwen3-32B-NVFP4": Checkpoint("qwen3-32b"),
    "Qwen/Qwen3-235B-A22B-FP8": Checkpoint("qwen3-235b-a22b"),
    "meta-llama/Llama-3.1-8B-Instruct": Checkpoint("llama-3-8b"),
    "meta-llama/Llama-3.1-70B": Checkpoint("llama-3-70b"),
    "openai/gpt-oss-120b": Checkpoint("gpt-oss-120b", experts_only=True),
    "deepseek-ai/DeepSeek-R1": Checkpoint("deepseek-v3"),
    "deepseek-ai/DeepSeek-V3": Checkpoint("deepseek-v3"),
    "nvidia/DeepSeek-R1-NVFP4": Checkpoint("deepseek-v3"),
    "nvidia/DeepSeek-V3.1-NVFP4": Checkpoint("deepseek-v3"),
}
# gemm_quant_mode -> dtype of sim.measured.gemm.DTYPES. Checkpoints in fp8 have the activations'
# scales; those of blocks are found as data pass.
DTYPES = {
    "": "bf16",
    "fp8": "fp8_static",
    "fp8_static": "fp8_static",
    "fp8_block": "fp8_block",
    "nvfp4": "nvfp4",
    "int4_wo": "w4a16",
    "int8_wo": "w8a16",
}


@dataclass(frozen=True)
class Served:
    """A copy of a model and its requests. `prompt` and `answer` are mean tokens of a request."""

    device: str
    backend: str
    spec: DecoderSpec
    dense: str
    experts: str
    cache: str
    chips: int
    copies: int  # of attention
    moe_tp: int
    moe_ep: int
    prompt: float
    answer: float
    requests: int
    benchmark: str
    server: Server = field(compare=False)
    client: Client = field(compare=False)

    @property
    def heads_ways(self) -> int:
        """Chips that a copy of attention is split over."""
        return self.chips // self.copies


@once
def _described(name: str) -> DecoderSpec:
    spec = describe(read_config(name))
    assert isinstance(spec, DecoderSpec)
    return spec


def served_of(case: Case) -> Served:
    """Raises UserError for a model or way that is not modeled, RowError for a wrong number."""
    model, mode = case.values["model"], case.values["gemm_quant_mode"]
    if model not in MODELS:
        raise UserError(f"model: no configuration of '{model}'; {nearest(model, list(MODELS))}")
    if mode not in DTYPES:
        raise UserError(f"gemm_quant_mode: '{mode}'; {nearest(mode, list(DTYPES))}")
    if case.count("pp_size") > 1:
        raise UserError("pp_size: stages of a pipeline are not modeled")
    if (spec := _described(MODELS[model].config)).latent:
        raise UserError("model: latent attention has no library model")
    checkpoint, backend, benchmark = MODELS[model], backend_of(case), benchmark_of(case)
    mean = clients()[benchmark].mean
    dense = "bf16" if checkpoint.experts_only else DTYPES[mode]
    chips, copies = case.count("tp_size"), _copies(case)
    if chips % copies:
        raise UserError(f"attention_dp_size: {chips} chips are not {copies} equal copies")
    return Served(
        case.device,
        backend,
        spec,
        dense,
        DTYPES[mode],
        _cache(case, backend),
        chips,
        copies,
        *_experts_ways(case, spec, chips),
        case.count("isl") * mean,
        case.count("osl") * mean,
        case.count("batch_size") * copies,
        benchmark,
        servers()[backend],
        clients()[benchmark],
    )


def _copies(case: Case) -> int:
    if case.values["attention_dp_size"]:
        return case.count("attention_dp_size")
    if not case.values["concurrency"]:
        return 1
    ratio = case.number("concurrency") / case.number("batch_size")
    return case.count("tp_size") if ratio == case.number("tp_size") else 1


def _cache(case: Case, backend: str) -> str:
    """As a column kv_dtype says, else as the server does with such checkpoints."""
    said = case.values.get("kv_dtype")
    return said or servers()[backend].cache.get(case.values["gemm_quant_mode"], "bf16")


def _experts_ways(case: Case, spec: DecoderSpec, chips: int) -> tuple[int, int]:
    """(tp, ep) of experts; 1 each without. Raises UserError where they are not all chips."""
    if not any(kind.experts for kind in spec.layers):
        return 1, 1
    ways = case.count("moe_tp_size"), case.count("moe_ep_size")
    if ways[0] * ways[1] != chips:
        raise UserError(f"moe_tp_size, moe_ep_size: {ways[0]} x {ways[1]} are not {chips} chips")
    return ways


def serving_graphs(case: Case) -> list[Graph]:
    """A server is no chain of kernels. Raises UserError."""
    raise UserError("servers are predicted where the cores' kernel library has `matmul`")
