"""pydantic's errors as sentences for the person who edits the YAML: the key and what is right."""

from __future__ import annotations

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from accel_models.reader import KeyPath, as_yaml

# Sentences by pydantic's error type; braces are filled from the error's context.
_WHOLE, _NUMBER, _SWITCH = "must be a whole number", "must be a number", "must be true or false"
_TEXT, _LIST = "must be a text", "must be a list such as [a, b]"
_MUST = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be finite",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "string_type": _TEXT,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": "must be a mapping of names to blocks",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "needs at least one entry",
    "literal_error": "must be {expected}",
}


def explained(
    error: ValidationError, model: type[BaseModel], data: Any, prefix: KeyPath
) -> list[tuple[KeyPath, str]]:
    """Every error of `data`, read as `model` at `prefix`, as (key path, sentence)."""
    found = []
    for item in error.errors(include_url=False):
        path, what = _written_path(item["loc"], data), _sentence(item, model)
        if item["type"] == "missing" and path and path[-1] == item["loc"][-1]:
            path = path[:-1]
        found.append((prefix + path, what))
    return found


def nearest(word: object, known: list[str]) -> str:
    """`did you mean ...?`, or everything that is known."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def _sentence(item: Any, model: type[BaseModel]) -> str:
    kind, loc, given = item["type"], item["loc"], item.get("input")
    if kind == "missing":
        return f"missing key '{loc[-1]}'"
    if kind == "extra_forbidden":
        known = _keys_at(model, loc[:-1])
        return f"unknown key '{loc[-1]}'; {nearest(loc[-1], known)}"
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    if kind in ("model_type", "model_attributes_type"):
        keys = ", ".join(k for k in _keys_at(model, loc) if k != "source")
        return f"must be a mapping (keys: {keys}), not {as_yaml(given)}"
    if kind == "too_short":
        return _MUST[kind]
    context = item.get("ctx", {})
    must = _MUST[kind].format(**context) if kind in _MUST else str(item["msg"])
    return f"{must}, not {as_yaml(given)}{_near_choice(context, given)}"


def _near_choice(context: dict[str, Any], given: object) -> str:
    """'; did you mean ...?' where a choice was misspelled."""
    options = str(context.get("expected", "")).replace(" or ", ", ").split(", ")
    close = difflib.get_close_matches(str(given), [o.strip("'") for o in options], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _written_path(loc: tuple[int | str, ...], data: Any) -> KeyPath:
    """`loc` without the steps that pydantic adds and the file does not have."""
    path: list[str | int] = []
    for i, step in enumerate(loc):
        entry = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if entry or (isinstance(data, dict) and step in data):
            data = data[step]
        elif i < len(loc) - 1:
            continue
        path.append(step)
    return tuple(path)


def _keys_at(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the model reached by `loc` knows."""
    for step in loc:
        if isinstance(model, type) and issubclass(model, BaseModel) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation) or model
    return [k for k in model.model_fields if k != "name"]


def _model_in(annotation: Any) -> Any:
    """The model inside Optional[...], Annotated[...] or dict[str, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is None:
        return None
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
