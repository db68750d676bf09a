"""Parameter counts of the shipped models equal the published ones, to the last parameter.

Sources: the transformers module of each file, built on the meta device (transformers 5, torch 2.13;
done once, outside the tests), its parameters summed with a tied head once. These are the numbers
that Hugging Face shows for the checkpoint in the file's `_name_or_path`; where another published
source was looked up, it is named beside the number.
"""

import pytest

from workloads import build, decode, prefill, read_config
from workloads.builders import phases_of
from workloads.config import ModelConfig, shipped_models
from workloads.phase import encode, verify

PUBLISHED = {
    "deepseek-v2": 235_741_434_880,  # deepseek-ai/DeepSeek-V2
    "deepseek-v2-lite": 15_706_484_224,
    "deepseek-v3": 671_026_419_200,  # without the module that predicts further tokens
    "deepseek-r1-distill-llama-8b": 8_030_261_248,  # deepseek-ai/DeepSeek-R1-Distill-Llama-8B
    "deepseek-r1-distill-qwen-1.5b": 1_777_088_000,  # its lm_head is untied, unlike Qwen2.5-1.5B
    "deepseek-r1-distill-qwen-14b": 14_770_033_664,
    "gemma-2-2b": 2_614_341_888,  # google/gemma-2-2b-it
    "gemma-2-9b": 9_241_705_984,
    "gemma-3-1b": 999_885_952,  # also keras-hub gemma3_presets.py, gemma3_1b
    "gpt2": 124_439_808,  # openai-community/gpt2
    "gpt-oss-20b": 20_914_757_184,  # openai/gpt-oss-20b
    "gpt-oss-120b": 116_829_156_672,
    "llama-2-7b": 6_738_415_616,  # meta-llama/Llama-2-7b-hf
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,  # meta-llama/Meta-Llama-3-8B
    "llama-3-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,  # mistralai/Mistral-7B-v0.1
    "mixtral-8x7b": 46_702_792_704,  # mistralai/Mixtral-8x7B-v0.1
    "olmoe-1b-7b": 6_919_161_856,  # allenai/OLMoE-1B-7B-0924
    "opt-125m": 125_239_296,  # facebook/opt-125m, the two extra position rows included
    "opt-350m": 331_196_416,
    "opt-6.7b": 6_658_473_984,
    "phi-3-mini": 3_821_079_552,  # also keras-hub phi3_presets.py, phi3_mini_4k_instruct_en
    "qwen1.5-moe-a2.7b": 14_315_784_192,  # Qwen/Qwen1.5-MoE-A2.7B
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,  # Qwen/Qwen3-30B-A3B
    "qwen3-235b-a22b": 235_093_634_560,
    "bart-large": 406_291_456,  # facebook/bart-large
    "bert-base": 109_514_298,  # google-bert/bert-base-uncased, with its masked-token head
    "bert-large": 335_174_458,
    "bitnet-b1.58-2b": 2_412_820_480,  # microsoft/bitnet-b1.58-2B-4T
    "clip-vit-base-patch32": 151_277_313,  # openai/clip-vit-base-patch32
    "clip-vit-large-patch14": 427_616_513,
    "flan-t5-base": 247_577_856,  # google/flan-t5-base
    "lenet-5": 61_706,  # the usual count of a LeNet-5 whose C3 sees all of S2
    "llava-1.5-7b": 7_063_427_072,  # llava-hf/llava-1.5-7b-hf
    "mamba-130m": 129_135_360,  # state-spaces/mamba-130m-hf
    "mamba-2.8b": 2_768_345_600,
    "mobilenet-v1": 4_233_001,  # google/mobilenet_v1_1.0_224, a class for the background too
    "mobilenet-v2": 3_506_153,  # torchvision's 3,504,872 and a class for the background
    "qwen2-vl-2b": 2_208_985_600,  # Qwen/Qwen2-VL-2B-Instruct
    "qwen2-vl-7b": 8_291_375_616,
    "resnet-50": 25_557_032,  # also torchvision.models.resnet50
    "roberta-base": 124_697_433,  # FacebookAI/roberta-base, with its masked-token head
    "rwkv-4-169m": 169_342_464,  # RWKV/rwkv-4-169m-pile
    "t5-small": 60_506_624,  # google-t5/t5-small
    "vit-base": 86_567_656,  # google/vit-base-patch16-224
    "whisper-large-v3": 1_543_490_560,  # openai/whisper-large-v3
    "whisper-tiny": 37_760_640,
}

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
