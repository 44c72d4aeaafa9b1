"""Slot table: which conversation has which slot of the cache, and what of it is cached.

Running conversations have the first slots, so that a decoding step reads the cache without copying. Sessions that wait
for their next prompt follow; they are a convenience and lose their slots to running conversations, the longest unused
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sdar_gym.policy.slot_cache import SlotCache
from sdar_gym.rollout.engines.base import GenerationRequest


@dataclass(slots=True, eq=False)
class Run:
    """A response in the making.

    Attributes:
        number: Position of its conversation among the requests.
        request: The request.
        limit: Most tokens of the response.
        uniforms: Its random numbers, one per token.
        tokens: Sampled tokens.
        logprobs: Their log-probabilities.
        cached: Prompt tokens that were not read.
    """

    number: int
    request: GenerationRequest
    limit: int
    uniforms: np.ndarray
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    cached: int = 0

    @property
    def ids(self) -> list[int]:
        """Prompt and sampled tokens."""
        return [*self.request.prompt_ids, *self.tokens]

    @property
    def length(self) -> int:
        """Number of `ids`."""
        return len(self.request.prompt_ids) + len(self.tokens)


@dataclass(slots=True, eq=False)
class Slot:
    """A slot of the cache.

    Attributes:
        index: Its place in the cache.
        session: Name of the conversation that it is kept for, or None.
        ids: Tokens whose keys and values it holds.
        run: The response that is being sampled, or None.
    """

    index: int
    session: str | None
    ids: list[int] = field(default_factory=list)
    run: Run | None = None


class SlotTable:
    """All slots in use: the running ones, then the waiting sessions.

    Args:
        cache: The cache that they belong to.
    """

    def __init__(self, cache: SlotCache):
        self._cache = cache
        self._slots: list[Slot] = []
        self._running = 0
        # Of waiting sessions; a session moves to the end when it stops running.
        self._sessions: dict[str, Slot] = {}

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def running(self) -> Sequence[Slot]:
        """The running slots, by index."""
        return self._slots[: self._running]

    def place_of(self, session: str | None) -> int | None:
        """The place of a waiting session in the cache; None if there is none of this name."""
        slot = self._sessions.get(session) if session is not None else None
        return None if slot is None else slot.index

    def start(self, session: str | None) -> Slot:
        """Makes a slot run: the session's, or an empty one."""
        kept = self._sessions.pop(session, None) if session is not None else None
        if kept is None:
            kept = Slot(len(self._slots), session)
            self._slots.append(kept)
        self._swap(kept, self._slots[self._running])
        self._running += 1
        return kept

    def stop(self, slot: Slot, *, keep: bool) -> None:
        """Ends the running of a slot.

        Args:
            slot: A running slot.
            keep: Whether its session goes on waiting; else the slot is freed.
        """
        slot.run = None
        keep = keep and slot.session is not None
        if not keep:
            slot.ids.clear()
        self._running -= 1
        self._swap(slot, self._slots[self._running])
        if keep and slot.session is not None:
            self.close(slot.session)
            self._sessions[slot.session] = slot
        else:
            self._remove(slot)

    def close(self, session: str) -> None:
        """Frees a waiting session."""
        slot = self._sessions.pop(session, None)
        if slot is not None:
            self._remove(slot)

    def close_longest_unused(self, most: int) -> None:
        """Frees waiting sessions until no more slots than this are in use, running ones aside."""
        while self._sessions and len(self._slots) > most:
            self.close(next(iter(self._sessions)))

    def clear(self) -> None:
        """Frees all slots."""
        self._slots.clear()
        self._sessions.clear()
        self._running = 0

    def _remove(self, slot: Slot) -> None:
        slot.ids.clear()
        self._swap(slot, self._slots[-1])
        self._slots.pop()

    def _swap(self, one: Slot, other: Slot) -> None:
        """Exchanges two slots; what is empty is not copied."""
        if one is other:
            return
        first, second = one.index, other.index
        if one.ids and other.ids:
            self._cache.swap(first, second, max(len(one.ids), len(other.ids)))
        elif one.ids:
            self._cache.copy(first, [second], len(one.ids))
        elif other.ids:
            self._cache.copy(second, [first], len(other.ids))
        one.index, other.index = second, first
        self._slots[first], self._slots[second] = other, one
