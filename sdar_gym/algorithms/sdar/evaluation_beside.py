"""Evaluation beside training: the panel is played by env runners of its own, with the weights of its update."""

from __future__ import annotations

from typing import Any

from sdar_gym.algorithms.sdar.background import Background
from sdar_gym.algorithms.sdar.panel_evaluator import PanelEvaluator
from sdar_gym.algorithms.sdar.rollout_dispatcher import RolloutDispatcher


class EvaluationBeside:
    """One evaluation at a time, while the learner and the other runners go on.

    Args:
        evaluator: Plays the panel.
        dispatcher: The evaluator's, over runners that play nothing else.
    """

    def __init__(self, evaluator: PanelEvaluator, dispatcher: RolloutDispatcher):
        self._evaluator = evaluator
        self._dispatcher = dispatcher
        self._pending: Background[dict[str, Any]] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether the runners play at this moment, so that nobody else may use them."""
        return self._pending is not None and not self._pending.done

    @property
    def done(self) -> bool:
        """Whether `finish` would not wait."""
        return self._pending is not None and self._pending.done

    def begin(self, updates: int) -> None:
        """Begins to play the panel with the present weights.

        Args:
            updates: Number of completed updates.

        Raises:
            ValueError: The one before was not finished.
            EngineMismatchError: An engine gives other log-probabilities than the learner.
        """
        if self._pending is not None:
            raise ValueError("An evaluation is in progress: call finish_evaluation before the next one.")
        self._dispatcher.bring_back()
        self._dispatcher.hold(self._dispatcher.take_weights(teacher=self._evaluator.needs_teacher_weights))
        self._dispatcher.check_engines()
        self._pending = Background(lambda: self._evaluator.evaluate(updates), "sdar-gym evaluation")

    def wait(self) -> None:
        """Waits until `finish` would not."""
        if self._pending is not None:
            self._pending.wait()

    def take_faults(self) -> dict[str, int]:
        """What the runners did not survive, and what they survived, since the last call; by name."""
        return {} if self.in_flight else self._dispatcher.take_faults()

    def abandon(self) -> None:
        """Ends an evaluation in progress, and its runners."""
        if self.in_flight:
            self._dispatcher.abandon()

    def finish(self) -> tuple[dict[str, Any], dict[str, float]]:
        """Waits for the evaluation that was begun.

        Returns:
            Its result, and the seconds that it was played and waited for.

        Raises:
            ValueError: None was begun.
            RolloutError: A task cannot be played.
        """
        if self._pending is None:
            raise ValueError("No evaluation is in progress: call begin_evaluation first.")
        pending = self._pending
        # An exception while it waits, such as a signal's, leaves it in progress.
        pending.wait()
        self._pending = None
        self._dispatcher.release()
        return pending.result(), {"evaluation": pending.seconds, "evaluation_wait": pending.waited}
