"""FlashAttention on Ascend 910B by events beside measured times, and the ladder of mechanisms.

    python benchmarks/flash_ascend.py

Prints the tables of docs/event_ascend.md; the facts are in sim/measured/flash_ascend.yaml.
"""

from __future__ import annotations

from sim.measured.flash_ascend import LADDER_AT, ladder_table, rows_table


def main() -> None:
    """Both tables."""
    print("\n".join(rows_table()))
    print()
    print("\n".join(ladder_table(LADDER_AT)))


if __name__ == "__main__":
    main()
