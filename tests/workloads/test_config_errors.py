"""Broken configurations and the exact words with which each is refused."""

import json
import os

import pytest

from workloads import build, decode, read_config
from workloads.builders import BUILDERS, NESTED
from workloads.config import SEARCH_PATH, ConfigError, shipped_models

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "hidden_act": "silu",
}
KNOWN = ", ".join([*BUILDERS, *NESTED])
ABSENT = object()

# what is changed in LLAMA -> the message, with {file} for the path; a key a line after the brace.
BROKEN = {
    "missing key": (
        {"hidden_size": ABSENT},
        "{file}: 'hidden_size' is missing; a llama configuration states it",
    ),
    "misspelled key": (
        {"vocab_size": ABSENT, "vocabsize": 100},
        ("{file}: 'vocab_size' is missing; a llama configuration states it; "
        "did you mean it by 'vocabsize'?"),
    ),
    "string": (
        {"hidden_size": "64"},
        "{file}:3: 'hidden_size' is \"64\"; write a positive integer",
    ),
    "float": (
        {"hidden_size": 64.0},
        "{file}:3: 'hidden_size' is 64.0; write a positive integer",
    ),
    "zero": ({"vocab_size": 0}, "{file}:8: 'vocab_size' is 0; write a positive integer"),
    "negative": (
        {"num_hidden_layers": -4},
        "{file}:5: 'num_hidden_layers' is -4; write a positive integer",
    ),
    "boolean": (
        {"num_attention_heads": True},
        "{file}:6: 'num_attention_heads' is true; write a positive integer",
    ),
    "null": ({"hidden_size": None}, "{file}:3: 'hidden_size' is null; write a positive integer"),
    "too many layers": (
        {"num_hidden_layers": 10**12},
        "{file}:5: 'num_hidden_layers' is 1000000000000; write an integer of at most 10000",
    ),
    "list": (
        {"hidden_size": list(range(100))},
        ("{file}:3: 'hidden_size' is [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11...; "
        "write a positive integer"),
    ),
    "flag as integer": (
        {"mlp_bias": 1},
        "{file}:10: 'mlp_bias' is 1; write true or false",
    ),
    "heads that do not share evenly": (
        {"num_key_value_heads": 3},
        "{file}:6: 'num_attention_heads' is 4, not a multiple of 'num_key_value_heads' (3)",
    ),
    "heads that do not divide the width": (
        {"hidden_size": 66},
        "{file}:3: 'hidden_size' is 66, not a multiple of 'num_attention_heads' (4)",
    ),
    "unknown activation": (
        {"hidden_act": "relu6"},
        ("{file}:9: 'hidden_act' is \"relu6\"; "
        "known: silu, swish, gelu_pytorch_tanh, gelu_new, gelu, relu2"),
    ),
    "unknown dtype": (
        {"torch_dtype": "auto"},
        "{file}:10: 'torch_dtype' is \"auto\"; known: float16, bfloat16, float32",
    ),
    "unknown model type": (
        {"model_type": "lama"},
        "{file}:2: no builder for model_type 'lama'; did you mean 'llama'? (known: " + KNOWN + ")",
    ),
    "no model type": (
        {"model_type": ABSENT},
        "{file}: 'model_type' is missing; known: " + KNOWN,
    ),
    "model type of another kind": (
        {"model_type": ["llama"]},
        "{file}:2: 'model_type' is not a string; known: " + KNOWN,
    ),
    "quantized checkpoint": (
        {"quantization_config": {"bits": 4}},
        ("{file}:10: 'quantization_config' is not read, because quantizing is a transform; "
        "delete the key and pass --formats"),
    ),
    "window not stated": (
        {"model_type": "mistral"},
        "{file}: 'sliding_window' is missing; a mistral configuration states it",
    ),
    "rotary fraction": (
        {"model_type": "phi3", "partial_rotary_factor": 1.5},
        "{file}:10: 'partial_rotary_factor' is 1.5; write a number above 0 and at most 1",
    ),
    "softcap": (
        {"model_type": "gemma2", "final_logit_softcapping": -30},
        "{file}:10: 'final_logit_softcapping' is -30; write a positive number or null",
    ),
    "layer types too short": (
        {"model_type": "gemma2", "layer_types": ["full_attention"]},
        "{file}:10: 'layer_types' has 1 entries for 4 layers; write one per layer",
    ),
    "layer types of another kind": (
        {"model_type": "gemma2", "layer_types": ["chunked_attention"] * 4},
        ("{file}:10: 'layer_types' is "
        '["chunked_attention", "chunked_attent...; '
        "write a list of full_attention and sliding_attention"),
    ),
    "no language model inside": (
        {"model_type": "gemma3"},
        "{file}: 'gemma3' needs an object 'text_config', its language model",
    ),
    "nested key": (
        {"model_type": "gemma3", "text_config": {"hidden_size": 0, "intermediate_size": 8,
                                                 "num_hidden_layers": 2}},
        "{file}:10: 'text_config.hidden_size' is 0; write a positive integer",
    ),
    "dtype around a nested one": (
        {"model_type": "gemma3", "text_config": {"hidden_size": 8, "intermediate_size": 8,
                                                 "num_hidden_layers": 2}, "dtype": ["bfloat16"]},
        "{file}:11: 'dtype' is [\"bfloat16\"]; known: float16, bfloat16, float32",
    ),
    "several at once": (
        {"hidden_size": ABSENT, "vocab_size": -1, "num_key_value_heads": 3},
        ("{file}: 'hidden_size' is missing; a llama configuration states it\n"
        "{file}:5: 'num_attention_heads' is 4, not a multiple of 'num_key_value_heads' (3)\n"
        "{file}:7: 'vocab_size' is -1; write a positive integer"),
    ),
}  # fmt: skip

BROKEN_TEXT = {
    "cut off": (
        '{\n "hidden_size": 64,\n',
        "{file}:3:1: not valid JSON: Expecting property name enclosed in double quotes",
    ),
    "comma": (
        '{"a": 1\n "b": 2}',
        "{file}:2:2: not valid JSON: Expecting ',' delimiter",
    ),
    "empty": ("", "{file}:1:1: not valid JSON: Expecting value"),
    "list": ("[1, 2]", "{file}:1: a model configuration is a JSON object, not a list"),
    "duplicate key": (
        '{\n "a": {"b": 1},\n "c": [{"b": 1}, {"b": 2}],\n "a": 2\n}',
        "{file}:4: 'a' is given twice (first on line 2); keep one",
    ),
    "duplicate key inside": (
        '{"a": {"b": "{,}",\n "\\u0062": 1}}',
        "{file}:2: 'b' is given twice (first on line 1); keep one",
    ),
    "not a number": ('{\n\n"eps": NaN}', "{file}:3: NaN is not a JSON number"),
    "infinity": ('{"name": "NaN", "eps": -Infinity}', "{file}:1: -Infinity is not a JSON number"),
    "too deep": ('{"a": ' + "[" * 200_000, "{file}: nested too deeply for a model configuration"),
    "too large": (
        '{"a": "' + "x" * (1 << 20) + '"}',
        "{file}: larger than 1 MiB; this is not a model's config.json",
    ),
}


def refused(name_or_path):
    with pytest.raises(ConfigError) as caught:
        build(read_config(str(name_or_path)), decode(1, 8))
    return str(caught.value)


def write(path, changes):
    data = {k: v for k, v in (LLAMA | changes).items() if v is not ABSENT}
    lines = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in data.items())
    path.write_text(f"{{\n{lines}\n}}\n")
    return path


@pytest.mark.parametrize("case", BROKEN)
def test_broken_configuration(case, tmp_path):
    changes, message = BROKEN[case]
    file = write(tmp_path / "config.json", changes)
    assert refused(file) == message.replace("{file}", str(file))


@pytest.mark.parametrize("case", BROKEN_TEXT)
def test_broken_text(case, tmp_path):
    text, message = BROKEN_TEXT[case]
    file = tmp_path / "config.json"
    file.write_text(text)
    assert refused(file) == message.replace("{file}", str(file))


def test_text_in_another_encoding(tmp_path):
    file = tmp_path / "config.json"
    file.write_bytes(b"\xff\xfe{}")
    assert refused(file) == f"{file}: not UTF-8 text; a config.json is wanted"


def test_unknown_name():
    assert refused("llama3-8b") == (
        "unknown model 'llama3-8b'; did you mean 'llama-3-8b' or 'llama-3-70b' or 'llama-2-7b'? "
        "Pass a shipped name (tileloom show --models) or a path to a config.json"
    )
    assert refused("zzz") == (
        "unknown model 'zzz'; no name is close. "
        "Pass a shipped name (tileloom show --models) or a path to a config.json"
    )


def test_unknown_path(tmp_path):
    missing = tmp_path / "config.json"
    assert refused(missing) == (
        f"{missing}: no such file; pass a path to a config.json or to the directory it is in"
    )
    assert refused("meta-llama/Llama-3-8B") == (
        "meta-llama/Llama-3-8B: no such file; pass a path to a config.json or to the directory "
        "it is in (did you mean 'llama-3-8b' or 'llama-3-70b' or 'llama-3.2-1b'?)"
    )
    assert refused(tmp_path) == f"{tmp_path}: the directory has no config.json"


def test_a_path_to_the_file_or_its_directory(tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    file = write(folder / "config.json", {})
    for given in (file, folder):
        config = read_config(str(given))
        assert (config.name, config.origin) == ("my-model", str(file))
    write(file, {"_name_or_path": "someone/Some-Model/"})
    assert read_config(str(folder)).name == "Some-Model"


def test_search_path(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    (second / "models").mkdir(parents=True)
    first.mkdir()
    monkeypatch.setenv(SEARCH_PATH, os.pathsep.join((str(first), "", str(second))))
    file = write(second / "models" / "house-model.json", {})
    config = read_config("house-model")
    assert (config.name, config.origin) == ("house-model", str(file))
    assert build(config, decode(1, 8)).name == "house-model"
    nearer = write(first / "house-model.json", {})
    assert read_config("house-model").origin == str(nearer)
    assert "did you mean 'house-model'?" in refused("hous-model")


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_names_work_from_any_directory(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_config(name)
    assert config.name == name
    assert config.lines["model_type"] > 1
