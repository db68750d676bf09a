"""The JSON Schema of a design file, with every registered engine kind."""

from __future__ import annotations

from typing import Any

from accel_models.design import Design
from accel_models.engines import ENGINES


def design_schema() -> dict[str, Any]:
    """Schema of the YAML as written: `name` is the file's, `extends` makes everything optional."""
    schema = Design.model_json_schema()
    definitions = schema["$defs"]
    definitions["Core"]["properties"]["matrix"] = {
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in ENGINES]
    }
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
