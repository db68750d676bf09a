"""How long it takes, and the user's door: `from sim import simulate, map_matmul, map_op`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.api import simulate as simulate
    from sim.map_api import map_matmul as map_matmul
    from sim.map_api import map_op as map_op

__all__ = ["map_matmul", "map_op", "simulate"]


def __getattr__(name: str) -> Any:
    """What is exported, imported when first asked for, so that the command line starts fast."""
    if name == "simulate":
        from sim.api import simulate

        return simulate
    if name in ("map_matmul", "map_op"):
        from sim import map_api

        return getattr(map_api, name)
    raise AttributeError(f"module 'sim' has no attribute '{name}'")
