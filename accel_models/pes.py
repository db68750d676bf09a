"""Processing elements by name: a design writes `pe: name` instead of spelling one out.

An entry is the YAML block as plain values, its `source` included. Plugins add theirs; the
project's own PEs, derived from gates, are to come here.
"""

from __future__ import annotations

from typing import Any

PES: dict[str, dict[str, Any]] = {}
