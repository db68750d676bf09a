"""The machine: facts read from YAML, and pure formulas for service time, energy and area."""
