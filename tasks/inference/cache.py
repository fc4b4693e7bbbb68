"""A key/value cache for batched generation: room is taken once, a shared prefix is filled in once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    import torch


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, written into room for `capacity` positions instead of being copied each step."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_empty(rows, heads, self.capacity, width)
        self.values = value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append new positions; returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length


def make_cache(layers: int, capacity: int) -> Any:
    """An empty cache of a decoder with full attention in all layers."""
    return Cache(layers=[RoomyLayer(capacity) for _ in range(layers)])


def seeded_cache(prefix: Any, rows: int, capacity: int) -> Any:
    """A cache for `rows` rows that begins with the one row of `prefix`."""
    cache = make_cache(len(prefix.layers), capacity)
    for layer, source in zip(cache.layers, prefix.layers, strict=True):
        keys, values = source.keys[:, :, : source.length], source.values[:, :, : source.length]
        layer.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
    return cache
