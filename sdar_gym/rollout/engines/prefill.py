"""Prefill: reads the prompts of slots into the cache.

Every token is read once: equal prompts, common beginnings and sessions are shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sdar_gym.policy.batching import budget_batches, right_padded
from sdar_gym.policy.decoder_forward import CachedForward
from sdar_gym.policy.prefix_caching import LEAST_SHARED, prefix_groups
from sdar_gym.policy.slot_cache import SlotCache, SlotPass
from sdar_gym.rollout.engines.slot_table import Run, Slot

# A shared beginning that is a smaller share of the longest prompt saves less than the mask of the second pass costs.
_LEAST_SHARE = 0.25


class Prefill:
    """Reads prompts.

    Args:
        forward: The model's forward pass over the cache.
        cache: The cache.
        device: Device of the model.
        pad_id: Any token; it is never attended to.
        token_budget: Tokens read in one pass, padding included.

    Attributes:
        token_budget: See above.
    """

    def __init__(
        self, forward: CachedForward, cache: SlotCache, *, device: torch.device, pad_id: int, token_budget: int
    ):
        self._forward = forward
        self._cache = cache
        self._device = device
        self._pad_id = pad_id
        self.token_budget = token_budget

    def read(self, slots: Sequence[Slot]) -> torch.Tensor:
        """Reads the prompts of the slots' runs and notes what each slot holds and how much was not read.

        Args:
            slots: Slots with a run whose prompt, and what is sampled of its response, is to be read.

        Returns:
            Hidden states of the last tokens, [slots, hidden size].
        """
        first: dict[tuple[int, ...], Slot] = {}
        copies: list[tuple[Slot, Slot]] = []
        starts: dict[Slot, int] = {}
        for slot in slots:
            prompt = _run(slot).ids
            kept = _common(slot.ids, prompt)
            if kept:
                starts[slot] = kept
                continue
            other = first.setdefault(tuple(prompt), slot)
            if other is not slot:
                copies.append((other, slot))
        fresh = list(first.values())
        hidden: dict[Slot, torch.Tensor] = {}
        # A later slot may hold what an earlier one begins with only once that is read, so beginnings come first.
        starts |= self._read_beginnings(fresh)
        for slot, start in starts.items():
            _note_cached(slot, start)
        for group in ([slot for slot in fresh if slot not in starts], list(starts)):
            for batch in self._batches(group, starts):
                parts = [_run(slot).ids[starts.get(slot, 0) :] for slot in batch]
                states = self._pass(batch, [starts.get(slot, 0) for slot in batch], parts)
                hidden |= dict(zip(batch, states, strict=True))
        for slot in (*fresh, *starts):
            slot.ids[:] = _run(slot).ids
        for source, slot in copies:
            slot.ids[:] = source.ids
            _note_cached(slot, len(source.ids))
            hidden[slot] = hidden[source]
        for source in {source: None for source, _ in copies}:
            targets = [slot.index for other, slot in copies if other is source]
            self._cache.copy(source.index, targets, len(source.ids))
        return torch.stack([hidden[slot] for slot in slots])

    def _read_beginnings(self, slots: Sequence[Slot]) -> dict[Slot, int]:
        """Reads every common beginning once, into the first of its slots, and copies it into the others.

        Returns:
            The slots that hold such a beginning, with its length.
        """
        found: dict[Slot, int] = {}
        if len(slots) < 2:
            return found
        prompts = [_run(slot).ids for slot in slots]
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        if int(lengths.max()) <= LEAST_SHARED:
            return found
        ids = torch.from_numpy(right_padded(prompts, self._pad_id))
        for group, shared in prefix_groups(ids, lengths, lengths):
            if len(group) < 2 or shared < _LEAST_SHARE * max(len(prompts[row]) for row in group):
                continue
            source, *others = [slots[row] for row in group]
            self._pass([source], [0], [prompts[group[0]][:shared]])
            self._cache.copy(source.index, [slot.index for slot in others], shared)
            found |= dict.fromkeys([source, *others], shared)
        return found

    def _batches(self, slots: Sequence[Slot], starts: dict[Slot, int]) -> list[list[Slot]]:
        """Slots whose new tokens are read in one pass, by index so that their places in the cache are adjacent."""
        widths = [_run(slot).length - starts.get(slot, 0) for slot in slots]
        batches = budget_batches(range(len(slots)), widths, self.token_budget)
        return [sorted((slots[row] for row in rows.tolist()), key=lambda slot: slot.index) for rows, _ in batches]

    def _pass(self, slots: Sequence[Slot], starts: Sequence[int], parts: Sequence[list[int]]) -> torch.Tensor:
        """Hidden states of each row's last token."""
        counts = [len(part) for part in parts]
        rows = SlotPass([slot.index for slot in slots], starts, counts, self._device)
        ids = torch.from_numpy(right_padded(parts, self._pad_id)).to(self._device)
        hidden = self._forward(ids, rows, self._cache)
        return hidden[torch.arange(len(slots), device=self._device), torch.tensor(counts, device=self._device) - 1]


def _run(slot: Slot) -> Run:
    assert slot.run is not None
    return slot.run


def _note_cached(slot: Slot, count: int) -> None:
    # A run that had to wait in the middle of its response is read again; its prompt was counted before.
    if not _run(slot).tokens:
        _run(slot).cached = count


def _common(cached: list[int], prompt: list[int]) -> int:
    """Cached tokens that the prompt begins with, its last token aside: that one is always read.

    A short beginning of a prompt that then differs is not worth a pass with a mask.
    """
    most = min(len(cached), len(prompt) - 1)
    if cached[:most] == prompt[:most]:
        return most
    same = next(place for place in range(most) if cached[place] != prompt[place])
    return same if same >= LEAST_SHARED and same >= _LEAST_SHARE * len(prompt) else 0
