"""How long it takes, and the user's door: `from sim import simulate`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.api import simulate as simulate

__all__ = ["simulate"]


def __getattr__(name: str) -> Any:
    """`simulate`, imported when first asked for, so that the command line starts fast."""
    if name == "simulate":
        from sim.api import simulate

        return simulate
    raise AttributeError(f"module 'sim' has no attribute '{name}'")
