"""Slot cache: preallocated keys and values, in which token i of a sequence is at index i of its slot.

A stock `transformers` decoder runs with it as with its own caches. Nothing is padded on the left and nothing is
concatenated: a forward pass (`SlotPass`) writes the new tokens of its rows into their slots and reads these up to the
longest row. Sequences may have any lengths; what a slot holds beyond its sequence is masked and overwritten later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer


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
    _from: tuple[torch.Tensor, torch.Tensor] | None = field(init=False, default=None)
    _to: tuple[torch.Tensor, torch.Tensor] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        width, device = max(self.counts), self.device
        self.fresh = not any(self.starts)
        self.longest = max(start + count for start, count in zip(self.starts, self.counts, strict=True))
        first, size = self.slots[0], len(self.slots)
        adjacent = list(self.slots) == list(range(first, first + size))
        self.rows = slice(first, first + size) if adjacent else torch.tensor(self.slots, device=device)
        starts_B1 = torch.tensor(self.starts, device=device)[:, None]
        places_BS = starts_B1 + torch.arange(width, device=device)
        self.position_ids_BS = places_BS
        equal = len(set(self.starts)) == 1 and min(self.counts) == width
        if equal and adjacent:
            self._span = slice(self.starts[0], self.starts[0] + width)
        else:
            counts_B1 = torch.tensor(self.counts, device=device)[:, None]
            row_N, place_N = (torch.arange(width, device=device) < counts_B1).nonzero(as_tuple=True)
            self._from = (row_N, place_N)
            self._to = (torch.tensor(self.slots, device=device)[row_N], places_BS[row_N, place_N])
            # A scale of the positions that follows the longest one must not see the padding.
            self.position_ids_BS = torch.minimum(places_BS, starts_B1 + counts_B1 - 1)
        self.mask_B1ST = None
        if not self.fresh and not (equal and width == 1):
            keys_T = torch.arange(self.longest, device=device)
            self.mask_B1ST = (keys_T <= self.position_ids_BS[:, :, None])[:, None]

    def write(self, store: torch.Tensor, new: torch.Tensor) -> None:
        """Writes the new tokens' keys or values, [rows, heads, new tokens, width of a head], into their slots."""
        if self._span is not None:
            store[self.rows, :, self._span] = new
        elif self._from is not None and self._to is not None:
            store[self._to[0], :, self._to[1]] = new.transpose(1, 2)[self._from]

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
    def reserve(self, slots: int, tokens: int, most: int) -> None:
        """Makes room, at least twice the former one if that was too small.

        Args:
            slots: Slots that are needed.
            tokens: Tokens of the longest slot, as far as is known.
            most: Tokens that it may come to have.
        """
        if slots <= self.slots and tokens <= self.capacity:
            return
        if slots > self.slots:
            self.slots = max(slots, 2 * self.slots if self.slots else 0)
        if tokens > self.capacity:
            self.capacity = max(tokens, min(2 * max(tokens, self.capacity), most))
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
        grown[: store.shape[0], :, : store.shape[2]] = store
        return grown
