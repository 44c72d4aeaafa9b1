"""Judgements of this process: a program that was judged on a task before is not run again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from sdar_gym.envs.code.judge import Judgement

# A judgement holds a few short texts.
_MOST = 4096


class KnownJudgements:
    """The judgements used last, by what they depend on; any thread may use it.

    The episodes of a group are often answered with the same program. A judgement with a test that ran out of time is
    not kept, since it depends on how busy the machine was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Judgement] = OrderedDict()

    def get(self, key: Hashable, judged: Callable[[], Judgement]) -> Judgement:
        """The judgement of a key, made by `judged` if it is not known."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        result = judged()
        if result.repeatable:
            with self._lock:
                self._known[key] = result
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return result
