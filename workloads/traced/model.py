"""A Hugging Face model without weights, and inputs of the right shape.

The class is made from its configuration on the meta device, where a tensor has a shape and no
memory; nothing is downloaded. All layers are made and run: that is a few milliseconds each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from accel_models.explain import nearest
from kernels_ref.errors import UserError
from workloads.config import ConfigError, ModelConfig

INSTALL = "pip install 'tileloom[hf]' (and CPU torch)"
ATTENTION = ("tileloom", "sdpa", "eager")  # ours if a class takes any, else what it has
# What the program runs in. In fp16 some programs guard against overflow with clamps, which engines
# leave out; sizes are those of the file's format anyway.
DTYPES = {"fp16": "bfloat16", "bf16": "bfloat16", "fp32": "float32"}


def libraries() -> tuple[Any, Any]:
    """(torch, transformers), offline. Raises UserError with what to install."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(f"hf: models are traced with torch and transformers; {INSTALL}") from error
    transformers.logging.set_verbosity_error()
    return torch, transformers


def make_model(class_name: str, config: ModelConfig, dtype: str) -> Any:
    """The model on the meta device, for a format (fp16, bf16, fp32), with our interfaces chosen."""
    torch, transformers = libraries()
    kind = model_class(transformers, class_name)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, DTYPES[dtype]))
    try:
        with torch.device("meta"):
            model = _instance(kind, _settings(kind, class_name, config), config)
            model.tie_weights()
            _untie(model, config)
    finally:
        torch.set_default_dtype(before)
    return model.eval()


def _instance(kind: Any, settings: Any, config: ModelConfig) -> Any:
    """The model with our attention, or where its file has a table of its own, what that has."""
    for attention in ATTENTION:
        _choose(settings, attention)
        try:
            return kind(settings)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            if error.args[:1] != (attention,):
                raise ConfigError(
                    f"{config.origin}: {kind.__name__} cannot be made from it: "
                    f"{type(error).__name__}: {error}"
                ) from error
    raise UserError(f"hf:{kind.__name__}: has none of the attentions {', '.join(ATTENTION)}")


def _untie(model: Any, config: ModelConfig) -> None:
    """A head of its own where the file says so, though the class ties whatever is not loaded (T5
    of transformers 5, whose checkpoints may have both)."""
    head = model.get_output_embeddings()
    if head is not None and config.data.get("tie_word_embeddings") is False:
        head.weight = type(head.weight)(head.weight.detach().clone())


def model_class(transformers: Any, name: str) -> Any:
    """A model class of transformers by its name. Raises UserError with a close one."""
    kind = getattr(transformers, name, None) if name.isidentifier() else None
    if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
        return kind
    known = sorted(n for n in dir(transformers) if n.endswith(("Model", "LM", "Generation")))
    raise UserError(f"hf:{name}: transformers has no model class '{name}'; {_close(name, known)}")


def _close(name: str, known: list[str]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("did you mean") else "for example LlamaForCausalLM, BertModel"


def _settings(kind: Any, class_name: str, config: ModelConfig) -> Any:
    """The class's configuration object from the file."""
    data: Mapping[str, Any] = config.data
    wanted, given = kind.config_class.model_type, data.get("model_type")
    nested = data.get("text_config")
    if given not in (None, wanted) and isinstance(nested, Mapping):
        data = {k: v for k, v in data.items() if k in ("torch_dtype", "dtype")} | dict(nested)
        given = data.get("model_type")
    if given not in (None, wanted):
        raise ConfigError(
            f"{config.place('model_type')}: {class_name} wants a configuration of model_type "
            f"'{wanted}', not '{given}'"
        )
    if data.get("quantization_config") is not None:
        raise ConfigError(
            f"{config.place('quantization_config')}: 'quantization_config' is not read, because "
            "quantizing is a transform; delete the key and pass --formats"
        )
    try:
        return kind.config_class.from_dict(dict(data))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"{config.origin}: {class_name} refuses it: {error}") from error


def _choose(settings: Any, attention: str) -> None:
    """An attention and experts, in nested configurations too."""
    for name in ("", *getattr(settings, "sub_configs", {})):
        part = getattr(settings, name) if name else settings
        if part is not None:
            part._attn_implementation_internal = attention
            part._experts_implementation_internal = "tileloom"


def stacks(model: Any) -> list[str]:
    """Paths of the lists of layers that are in no other list."""
    torch, _ = libraries()
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{other}.") for other in found)
        if isinstance(module, torch.nn.ModuleList) and not inside:
            found.append(name)
    return found
