"""Reports as other programs read them: each must fit its published JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from nnstudent.cli.info import schema_files


def read_report(path: Path, verb: str) -> dict[str, Any]:
    """Return the report of a verb, having checked it against the verb's schema, closed."""
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    check_report(data, verb)
    return data


def check_report(data: Any, verb: str) -> None:
    """Fail if a report has a key that the schema does not name, or lacks one, or has
    another type."""
    schema = closed(json.loads(schema_files()[verb].read_text("utf-8")))
    faults = [
        f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"
        for fault in Draft202012Validator(schema).iter_errors(data)
    ]
    assert not faults, f"{verb}: {faults[:5]}"


def closed(schema: Any) -> Any:
    """Return a schema that allows no key beyond those it names."""
    if isinstance(schema, dict):
        changed = {key: closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
            changed["additionalProperties"] = False
        return changed
    return [closed(item) for item in schema] if isinstance(schema, list) else schema
