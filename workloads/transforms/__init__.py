"""Transforms: functions from a graph to a graph, with what they change as further arguments.

A new transform is a module here and a line in TRANSFORMS.
"""

from __future__ import annotations

from collections.abc import Callable

from workloads.graph import Graph
from workloads.training import training
from workloads.transforms.attention_sparsity import block_sparse, window
from workloads.transforms.cache import compress_kv, evict, prefix_kv, share_kv
from workloads.transforms.depths import mixture_of_depths, recursion
from workloads.transforms.expert_cache import expert_cache
from workloads.transforms.layers import early_exit, skip_layers
from workloads.transforms.neurons import sparse_neurons
from workloads.transforms.offload import load_neurons, offload
from workloads.transforms.outliers import outliers
from workloads.transforms.parallel import (
    data_parallel,
    expert_parallel,
    pipeline_parallel,
    sequence_parallel,
    stream_parallel,
    tensor_parallel,
    weight_gathered,
)
from workloads.transforms.predict import predict_kv
from workloads.transforms.prefix import prefix_tree, shared_prefix
from workloads.transforms.quantize import quantize
from workloads.transforms.recycle import recycle
from workloads.transforms.routing import routing, token_major
from workloads.transforms.sparsity import sparse
from workloads.transforms.speculate import speculate
from workloads.transforms.tables import quantize_tables
from workloads.transforms.tokens import prune_tokens

# name, as in `--apply 'name(arg,key=value)'` -> transform.
TRANSFORMS: dict[str, Callable[..., Graph]] = {
    "quantize": quantize,
    "quantize_tables": quantize_tables,
    "outliers": outliers,
    "sparse": sparse,
    "window": window,
    "block_sparse": block_sparse,
    "evict": evict,
    "compress_kv": compress_kv,
    "prefix_kv": prefix_kv,
    "share_kv": share_kv,
    "recycle": recycle,
    "predict_kv": predict_kv,
    "shared_prefix": shared_prefix,
    "prefix_tree": prefix_tree,
    "prune_tokens": prune_tokens,
    "sparse_neurons": sparse_neurons,
    "skip_layers": skip_layers,
    "early_exit": early_exit,
    "mixture_of_depths": mixture_of_depths,
    "recursion": recursion,
    "routing": routing,
    "token_major": token_major,
    "speculate": speculate,
    "tensor_parallel": tensor_parallel,
    "stream_parallel": stream_parallel,
    "weight_gathered": weight_gathered,
    "data_parallel": data_parallel,
    "expert_parallel": expert_parallel,
    "sequence_parallel": sequence_parallel,
    "pipeline_parallel": pipeline_parallel,
    "offload": offload,
    "load_neurons": load_neurons,
    "expert_cache": expert_cache,
    "training": training,
}
