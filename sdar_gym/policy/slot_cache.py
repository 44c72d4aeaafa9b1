"""Slot cache: preallocated keys and values, in which token i of a sequence is at index i of its slot.

A stock `transformers` decoder runs with it as with its own caches. Nothing is padded on the left and nothing is
concatenated: a forward pass (`SlotPass`) writes the new tokens of its rows into their slots and reads these up to the
longest row. Sequences may have any lengths; what a slot holds beyond its sequence is masked and overwritten later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer

# Slots grow by whole blocks of tokens.
_BLOCK = 64
# Keys of a pass with a mask are counted in steps of this many: attention kernels want aligned masks.
_ALIGNMENT = 8


@dataclass(slots=True)
class SlotPass:
    """The rows of one forward pass: which slots they have, and where their new tokens begin.

    Letters: B rows, S new tokens of the longest row, N new tokens of all rows without padding, T cached tokens of the
    longest row, the new ones included.

    Args:
        slots: Slot of each row.
        starts: Tokens of each row that are in the cache.
        counts: New tokens of each row; shorter rows are padded on the right.
        device: Device of the model.
    """

    slots: Sequence[int]
    starts: Sequence[int]
    counts: Sequence[int]
    device: torch.device
    # Every row is read from its first token: attention needs neither the cache nor a mask.
    fresh: bool = field(init=False)
    longest: int = field(init=False)
    position_ids_BS: torch.Tensor = field(init=False)
    mask_B1ST: torch.Tensor | None = field(init=False)
    rows: slice | torch.Tensor = field(init=False)
    _span: slice | None = field(init=False, default=None)
    # Row and place of every new token among the given ones, and its slot and place in the cache, [4, N].
    _places: torch.Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        # Indices are computed here, not on the device: it would have to be waited for.
        starts, counts, slots = np.asarray(self.starts), np.asarray(self.counts), np.asarray(self.slots)
        width, device = int(counts.max()), self.device
        self.fresh = not starts.any()
        self.longest = int((starts + counts).max())
        first, size = int(slots[0]), len(slots)
        adjacent = bool((slots == np.arange(first, first + size)).all())
        self.rows = slice(first, first + size) if adjacent else torch.from_numpy(slots).to(device)
        places = starts[:, None] + np.arange(width)
        equal = bool((starts == starts[0]).all() and (counts == width).all())
        if equal and adjacent:
            self._span = slice(int(starts[0]), int(starts[0]) + width)
        else:
            row, place = np.nonzero(np.arange(width) < counts[:, None])
            self._places = torch.from_numpy(np.stack([row, place, slots[row], places[row, place]])).to(device)
        # A scale of the positions that follows the longest one must not see the padding.
        places = np.minimum(places, (starts + counts - 1)[:, None])
        self.position_ids_BS = torch.from_numpy(places).to(device)
        self.mask_B1ST = None
        if not self.fresh and not (equal and width == 1):
            self.longest = _rounded_up(self.longest, _ALIGNMENT)
            keys_T = torch.arange(self.longest, device=device)
            self.mask_B1ST = (keys_T <= self.position_ids_BS[:, :, None])[:, None]

    def write(self, store: torch.Tensor, new: torch.Tensor) -> None:
        """Writes the new tokens' keys or values, [rows, heads, new tokens, width of a head], into their slots."""
        if self._span is not None:
            store[self.rows, :, self._span] = new
        elif self._places is not None:
            row_N, place_N, slot_N, to_N = self._places
            # One token a row is the usual case, where every row is taken.
            store[slot_N, :, to_N] = new[:, :, 0] if new.shape[2] == 1 else new[row_N, :, place_N]

    def read(self, store: torch.Tensor) -> torch.Tensor:
        """Keys or values of the rows up to the longest one; a view if their slots are adjacent."""
        return store[self.rows, :, : self.longest]


class SlotCache(Cache):
    """Keys and values of every layer, [slots, heads, capacity, width of a head].

    Memory is allocated by the first pass after `reserve`, with the shapes that the model gives.

    Args:
        config: The model's configuration.

    Attributes:
        slots: Number of slots.
        capacity: Tokens of a slot.
    """

    def __init__(self, config: PreTrainedConfig):
        layers = int(config.get_text_config().num_hidden_layers)
        super().__init__(layers=[DynamicLayer() for _ in range(layers)])
        self.slots = self.capacity = 0
        self._stores: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * layers
        self._pass: SlotPass | None = None

    @torch.inference_mode()
    def reserve(self, slots: int, tokens: int, *, expected: int, limit: int, budget: int) -> None:
        """Makes room, and more than is needed if the budget has it, so that little is copied when sequences grow.

        Args:
            slots: Slots that are needed; what the others hold may be dropped.
            tokens: Tokens that the longest slot is known to need.
            expected: Tokens that it may come to have soon.
            limit: Tokens that it can have at most.
            budget: Tokens of all slots; more are taken only if they are needed now.
        """
        if slots <= self.slots and tokens <= self.capacity:
            return
        count, capacity = max(slots, 2 * self.slots), self.capacity
        if tokens > capacity:
            wanted = max(min(expected, 2 * tokens), min(capacity * 3 // 2, limit))
            # Slots that are not in use would grow too.
            count, capacity = slots, _rounded_up(max(tokens, wanted), _BLOCK)
        if count * capacity > budget:
            count = slots
        if count * capacity > budget:
            capacity = least_capacity(tokens)
        self.slots, self.capacity = count, capacity
        # Layer by layer, so that no more than one layer exists twice.
        for index, stores in enumerate(self._stores):
            if stores is not None:
                self._stores[index] = (self._grown(stores[0]), self._grown(stores[1]))

    def begin(self, rows: SlotPass) -> None:
        """Sets the rows of the next forward pass; `reserve` has made room for them."""
        self._pass = rows

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes a layer's new keys and values; returns those that the rows attend to."""
        rows = self._pass
        assert rows is not None
        stores = self._stores[layer_idx]
        if stores is None:
            stores = self._stores[layer_idx] = (self._new(key_states), self._new(value_states))
        keys, values = stores
        rows.write(keys, key_states)
        rows.write(values, value_states)
        return (key_states, value_states) if rows.fresh else (rows.read(keys), rows.read(values))

    @torch.inference_mode()
    def copy(self, source: int, targets: Sequence[int], tokens: int) -> None:
        """Copies the first tokens of a slot into others."""
        for store in self._each():
            for target in targets:
                store[target, :, :tokens] = store[source, :, :tokens]

    @torch.inference_mode()
    def swap(self, one: int, other: int, tokens: int) -> None:
        """Exchanges the first tokens of two slots."""
        for store in self._each():
            store[[one, other], :, :tokens] = store[[other, one], :, :tokens]

    def free(self) -> None:
        """Gives the memory back."""
        self.slots = self.capacity = 0
        self._stores = [None] * len(self._stores)
        self._pass = None

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(store.nbytes for store in self._each())

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Cached tokens before the new ones, which passes with a mask do not use."""
        return 0 if self._pass is None else min(self._pass.starts)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Number of keys and index of the first."""
        rows = self._pass
        return (query_length if rows is None or rows.fresh else rows.longest), 0

    def _each(self) -> list[torch.Tensor]:
        return [store for stores in self._stores if stores is not None for store in stores]

    def _new(self, states: torch.Tensor) -> torch.Tensor:
        # Zeros: a masked value has weight 0, but 0 times a nan is a nan.
        return states.new_zeros(self.slots, states.shape[1], self.capacity, states.shape[3])

    def _grown(self, store: torch.Tensor) -> torch.Tensor:
        grown = self._new(store)
        slots, tokens = min(len(grown), len(store)), min(grown.shape[2], store.shape[2])
        grown[:slots, :, :tokens] = store[:slots, :, :tokens]
        return grown


def least_capacity(tokens: int) -> int:
    """Tokens of a slot that holds a sequence of this many."""
    return _rounded_up(tokens, _ALIGNMENT)


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step
