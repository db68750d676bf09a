"""Parameter counts of the shipped models equal the published ones, to the last parameter.

Sources: workloads/models/published.yaml.
"""

import pytest

from workloads import build, decode, prefill, read_config
from workloads.builders import phases_of
from workloads.config import ModelConfig, shipped_models
from workloads.phase import encode, train, verify
from workloads.published import published

PUBLISHED = {name: entry.params for name, entry in published().items()}

OURS = (  # files of our own, of which nobody has published a count
    "branchynet-lenet",
    "deformable-detector",
    "deit-small",
    "lowformer-like",
    "m3vit-small",
    "mobileclip-like",
)

# Families and variants that no shipped file covers, counted on the transformers module.
GEMMA3_4B_TEXT = {
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "model_type": "gemma3_text",
    "num_hidden_layers": 34,
    "sliding_window": 1024,
}
VARIANTS = {
    "gemma-2b": (
        2_506_172_416,
        {
            "model_type": "gemma",
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "vocab_size": 256000,
            "hidden_act": "gelu",
        },
    ),
    "gemma-3-4b": (3_880_263_168, {"model_type": "gemma3", "text_config": GEMMA3_4B_TEXT}),
    "mistral-nemo": (
        12_247_782_400,
        {
            "model_type": "mistral",
            "hidden_size": 5120,
            "intermediate_size": 14336,
            "num_hidden_layers": 40,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 131072,
            "hidden_act": "silu",
            "sliding_window": None,
        },
    ),
    "phi-4-mini": (
        3_836_021_760,
        {
            "model_type": "phi3",
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "vocab_size": 200064,
            "hidden_act": "silu",
            "partial_rotary_factor": 0.75,
            "tie_word_embeddings": True,
        },
    ),
    "llama-biased": (
        2_437_056,
        {
            "model_type": "llama",
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_hidden_layers": 3,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 48,
            "vocab_size": 1000,
            "hidden_act": "silu",
            "attention_bias": True,
            "mlp_bias": True,
        },
    ),
    "opt-without-biases": (
        75_008,
        {
            "model_type": "opt",
            "hidden_size": 64,
            "ffn_dim": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 100,
            "max_position_embeddings": 32,
            "enable_bias": False,
            "layer_norm_elementwise_affine": False,
            "word_embed_proj_dim": 32,
        },
    ),
    "gpt2-untied": (
        74_696,
        {
            "model_type": "gpt2",
            "n_embd": 64,
            "n_inner": 100,
            "n_layer": 2,
            "n_head": 4,
            "vocab_size": 100,
            "n_positions": 32,
            "tie_word_embeddings": False,
        },
    ),
}


def test_every_shipped_model_has_a_published_count():
    assert sorted([*PUBLISHED, *OURS]) == shipped_models()


@pytest.mark.parametrize("name", PUBLISHED)
def test_shipped_model(name):
    config = read_config(name)
    phases = {
        "encode": encode(2, 16),
        "prefill": prefill(2, 600),
        "decode": decode(1, 300),
        "verify": verify(2, 3, 300),
        "train": train(2, 300),
    }
    for phase in phases_of(config):
        assert build(config, phases[phase]).params == PUBLISHED[name], phase


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name):
    params, data = VARIANTS[name]
    assert build(ModelConfig(name, data, f"{name}.json"), decode(1, 8)).params == params


def test_weights_of_a_16_bit_checkpoint_are_two_bytes_each():
    graph = build(read_config("llama-2-7b"), decode(1, 1))
    assert graph.weight_bytes == 2 * graph.params
