"""The JSON Schema of a design file, with every registered engine kind."""

from __future__ import annotations

from typing import Any

from accel_models.design import Design
from accel_models.engines import ENGINES

Schema = dict[str, Any]
_OVERRIDING = "#/$defs/overriding_"


def file_schema() -> Schema:
    """Schema of a design file: a whole design, or the keys that change in the one it `extends`."""
    whole = design_schema()
    required, definitions = whole.pop("else")["required"], whole.pop("$defs")
    kept = {key: whole.pop(key) for key in ("$schema", "title", "if")}
    whole.pop("then")
    overriding = {
        _OVERRIDING.rsplit("/", 1)[-1] + name: _optional(block)
        for name, block in definitions.items()
    }
    return kept | {
        "then": _optional(whole),
        "else": whole | {"required": required},
        "$defs": definitions | overriding,
    }


def _optional(schema: Any) -> Any:
    """The schema with every key optional, down through the blocks it refers to."""
    if isinstance(schema, list):
        return [_optional(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for key, value in schema.items():
        if key == "$ref":
            result[key] = value.replace("#/$defs/", _OVERRIDING)
        elif key == "oneOf":  # a block without its kind fits several engines
            result["anyOf"] = _optional(value)
        elif key != "required":
            result[key] = _optional(value)
    return result


def design_schema() -> Schema:
    """Schema of a whole design as written: `name` is the file's, `extends` frees the top's keys."""
    schema = Design.model_json_schema()
    definitions = schema["$defs"]
    definitions["Core"]["properties"]["matrix"] = {
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in ENGINES]
    }
    kernels = definitions["Core"]["properties"]["kernels"]
    kernels["anyOf"] = [*kernels["anyOf"], {"type": "string", "description": "other cores' name"}]
    for kind, model in ENGINES.items():
        engine = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= engine.pop("$defs", {})
        engine["required"] = ["kind", *engine.get("required", [])]
        definitions[kind] = engine
    definitions["PE"] = {"anyOf": [definitions["PE"], {"type": "string", "description": "a name"}]}
    schema["properties"].pop("name")
    schema["properties"] = {
        "extends": {"type": "string", "description": "a design to start from: name or path"}
    } | schema["properties"]
    required = [key for key in schema.pop("required") if key not in ("name", "title")]
    if_extended = {"required": ["extends"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tileloom design",
        "if": if_extended,
        "then": {},
        "else": {"required": required},
    } | {k: v for k, v in schema.items() if k != "title"}
