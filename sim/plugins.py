"""Other people's parts: `--plugin MODULE` imports a module and calls its `register(parts)`.

    def register(parts):
        parts.add("engines", "my_engine", MyEngine)

Kinds: engines (a model with `kind`, see accel_models/engines), pes (a PE's YAML block), formats,
kernels (an Entry of kernels_ref.kernels), builders (a Hugging Face model_type), transforms,
objectives (a policy: Cost -> two keys to minimize), policies (a Policy of sim.event.policies).
A name that exists is refused. Only the command line names plugins, never a design.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from kernels_ref.errors import UserError


class PluginError(UserError):
    """A plugin that cannot be loaded or registers something it may not."""


class Parts:
    """What a plugin's `register` is given."""

    def __init__(self, plugin: str) -> None:
        from accel_models.engines import ENGINES
        from accel_models.pes import PES
        from kernels_ref.formats import FORMATS
        from kernels_ref.kernels import KERNELS
        from mappers.search.found import OBJECTIVES
        from sim.event.policies import POLICIES
        from workloads.builders import BUILDERS
        from workloads.transforms import TRANSFORMS

        self.plugin = plugin
        self.registries: dict[str, dict[str, Any]] = {
            "engines": ENGINES,
            "pes": PES,
            "formats": FORMATS,
            "kernels": KERNELS,
            "builders": BUILDERS,
            "transforms": TRANSFORMS,
            "objectives": OBJECTIVES,
            "policies": POLICIES,
        }

    def add(self, kind: str, name: str, thing: Any) -> None:
        """Register `thing`. Raises PluginError for an unknown kind or a name already taken."""
        if kind not in self.registries:
            known = ", ".join(self.registries)
            raise PluginError(f"{self.plugin}: no parts of kind '{kind}'; known: {known}")
        if self.registries[kind].get(name, thing) is not thing:
            raise PluginError(f"{self.plugin}: there is a {kind} entry '{name}' already")
        self.registries[kind][name] = thing


def load(module: str) -> None:
    """Import `module` (also from the working directory) and let it register its parts.

    Raises PluginError if there is no such module or it has no `register`. An error inside the
    plugin's own code is the plugin's bug and passes through.
    """
    if module.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
        raise PluginError(f"'{module}' is not a module's name; write my_parts for my_parts.py")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        plugin = importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name != module.partition(".")[0] and problem.name != module:
            raise
        raise PluginError(
            f"no plugin module '{module}' in {here} or among installed ones"
        ) from None
    if not callable(getattr(plugin, "register", None)):
        raise PluginError(f"{module}: has no function 'register(parts)'; see docs/extending.md")
    plugin.register(Parts(module))
