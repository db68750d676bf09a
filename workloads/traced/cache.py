"""A cache of keys and values that notes what is appended instead of keeping it.

In a prefill attention reads the fresh keys and values and the cache is written beside; a windowed
layer keeps min(window, tokens) positions. In a decode step the cache holds `context` positions,
the new one included, of which a windowed layer keeps window - 1 and the new ones.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from workloads.phase import Phase
from workloads.traced.events import Event, TraceError, Value
from workloads.traced.recorder import Recorder


class NotedCache(DynamicCache):  # type: ignore[misc]
    """Passed to the model as `past_key_values`; layers and windows are the configuration's."""

    def __init__(self, recorder: Recorder, phase: Phase, config: Any) -> None:
        super().__init__(config=config)
        self.recorder = recorder
        self.settings = config
        self.phase = phase
        self.states: dict[tuple[str, int], torch.Tensor] = {}

    def _window(self, layer: int) -> int | None:
        kept = self.layers[layer] if layer < len(self.layers) else None
        slides = getattr(kept, "is_sliding", False)
        return int(getattr(kept, "sliding_window", 0)) if slides else None

    def _seen(self, layer: int, tokens: int) -> int:
        """Positions that the layer's attention is given."""
        window, context = self._window(layer), self.phase.context
        fresh = self.phase.kind == "prefill" and self.phase.tokens == context
        if fresh or window is None:
            return context
        return min(context, window - 1 + tokens)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Note both appends; the keys and values that attention reads."""
        pair = (("k", key_states), ("v", value_states))
        given = [self._append(letter, rows, layer_idx) for letter, rows in pair]
        return given[0], given[1]

    def _append(self, letter: str, rows: torch.Tensor, layer: int) -> torch.Tensor:
        r, (batch, heads, tokens, width) = self.recorder, rows.shape
        seen, window = self._seen(layer, tokens), self._window(layer)
        fresh = seen == tokens
        kept = min(window or seen, seen) if fresh else seen
        facts = {"run_elements": min(tokens, kept) * width}
        output = Value((batch * heads * kept, width), "kv")
        role = f"{letter}_append"
        event = Event("move", "", r.module, r.read(rows), output, role, facts)
        if fresh:
            r.emit(event)
            return rows
        cached = rows.new_empty(batch, heads, seen, width)
        r.emit(event, cached)
        return cached

    def _size(self, name: str) -> int:
        """A size of the state. Raises TraceError where it is not Mamba's."""
        size = getattr(self.settings, name, None)
        if not isinstance(size, int):
            raise TraceError(
                f"{self.recorder.module}: its layers keep a state of their own kind (the "
                f"configuration has no '{name}'); only Mamba's is known"
            )
        return size

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        """The last taps' inputs of a convolution; none before a prefill."""
        return self._state(layer_idx, "conv_kernel")

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        """The state of a scan; none before a prefill."""
        return self._state(layer_idx, "state_size")

    def _state(self, layer: int, name: str) -> torch.Tensor | None:
        channels, width = self._size("intermediate_size"), self._size(name)
        if self.phase.kind == "prefill":
            return None
        batch, key = self.phase.batch, (name, layer)
        if key not in self.states:
            dtype = self.settings.dtype
            self.states[key] = torch.empty(batch, channels, width, dtype=dtype, device="meta")
            self.recorder.bind(self.states[key], Value((batch * channels, width), "kv"))
        return self.states[key]

    def update_conv_state(
        self, conv_states: torch.Tensor, layer_idx: int, state_idx: int = 0, **kwargs: Any
    ) -> torch.Tensor:
        """Note that the last taps' inputs are kept."""
        taps = kwargs.get("conv_kernel_size") or self._size("conv_kernel")
        self._keep("conv_state", conv_states, taps)
        return conv_states

    def update_recurrent_state(
        self, recurrent_states: torch.Tensor, layer_idx: int, state_idx: int = 0, **_: Any
    ) -> torch.Tensor:
        """Note that the state is kept."""
        self._keep("ssm_state", recurrent_states, recurrent_states.shape[-1])
        return recurrent_states

    def _keep(self, role: str, rows: torch.Tensor, width: int) -> None:
        r, (batch, channels, *_) = self.recorder, rows.shape
        output, facts = Value((batch * channels, width), "kv"), {"run_elements": width}
        r.emit(Event("move", "", r.module, r.read(rows), output, role, facts))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions before this step."""
        return self.phase.context - self.phase.tokens

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Position of the first new token."""
        return self.phase.context - self.phase.tokens

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """(positions that attention is given, the first of them)."""
        seen = self._seen(layer_idx, query_length)
        return seen, self.phase.context - seen


class CrossCache(DynamicCache):  # type: ignore[misc]
    """Keys and values of an encoder's output: written once, in the prefill, then read."""

    def __init__(self, recorder: Recorder, phase: Phase, config: Any, source: int) -> None:
        super().__init__(config=config)
        self.recorder = recorder
        count = len(self)
        self.layers = [CrossLayer(recorder, phase, config, source) for _ in range(count)]

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Note both writes; attention reads the fresh ones."""
        for letter, rows in (("k", key_states), ("v", value_states)):
            batch, heads, tokens, width = rows.shape
            output = Value((batch * heads * tokens, width), "kv")
            facts = {"run_elements": tokens * width}
            r, role = self.recorder, f"{letter}_append"
            r.emit(Event("move", "", r.module, r.read(rows), output, role, facts))
        return key_states, value_states


class CrossLayer(DynamicLayer):  # type: ignore[misc]
    """What a layer kept of the source, made when it is asked for."""

    def __init__(self, recorder: Recorder, phase: Phase, config: Any, source: int) -> None:
        super().__init__()
        heads = config.num_attention_heads
        width = getattr(config, "d_kv", None) or config.hidden_size // heads
        if phase.kind == "prefill":
            return
        self.is_initialized = True
        shape = (phase.batch, heads, source, width)
        pair = [torch.empty(shape, dtype=config.dtype, device="meta") for _ in range(2)]
        for tensor in pair:
            recorder.bind(tensor, Value((phase.batch * heads * source, width), "kv"))
        self.keys, self.values = pair
