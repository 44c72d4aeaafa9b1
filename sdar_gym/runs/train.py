"""Training run: trains from a configuration, evaluates on the panel, and writes everything to the run folder."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_gym.configs.record import resolved, settings_of, versions
from sdar_gym.configs.schema import RunConfig
from sdar_gym.paths import first_line, local_path
from sdar_gym.policy.non_finite import NonFiniteError
from sdar_gym.report.curve import draw_curve
from sdar_gym.report.tokens import turn_tokens, write_tokens
from sdar_gym.runs.check import check_run, stop_tokens, with_date
from sdar_gym.runs.checkpoint import CheckpointError, read_state
from sdar_gym.runs.checkpoint_writer import CheckpointWriter
from sdar_gym.runs.folder import RunFolder, RunFolderError, new_run_folder, remove_if_empty
from sdar_gym.runs.lock import locked
from sdar_gym.runs.mirror import Mirror
from sdar_gym.runs.resume import Resumption, plain_settings, plan_resume
from sdar_gym.runs.stop import RunStopped, Stopper
from sdar_gym.runs.trackers import TrackedRun, Tracking

__all__ = ["Progress", "check_run", "train"]


# Metrics of the learner about which a run has something to say.
_SHOWN = ("mismatch_kl", "distill_gradient_share")
# Learners that die so often since one checkpoint do not die by chance.
_LOSSES_WITHOUT_PROGRESS = 3


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress report of a run.

    Attributes:
        update: Number of updates done.
        updates: Number of updates in total.
        train_success: Success rate of the last update's episodes.
        evaluation: The latest result on the evaluation panel.
        figures: Metrics of the last update's episodes, and `mismatch_kl`; before the first one, of the evaluation.
    """

    update: int
    updates: int
    train_success: float | None
    evaluation: dict[str, Any]
    figures: Mapping[str, Any]


def train(
    run: RunConfig, resume: Path | None = None, report: Callable[[Progress], None] = lambda progress: None
) -> tuple[RunFolder, dict[str, Any]]:
    """Train. Call `runs.check.check_run` first: it reports errors before Ray starts.

    Args:
        run: The configuration; for a resumed run, that of `resumed_run`.
        resume: Run folder to resume, exactly from its newest checkpoint.
        report: Called after every update.

    Returns:
        The run folder and the summary: the results before and after training, and the time in seconds.

    Raises:
        ValueError: The folder is in use, not writable, or cannot be resumed; or a loss, a gradient or weights are not
            finite. The last good checkpoint is kept.
        RunStopped: SIGTERM or SIGINT ended the run, with a checkpoint of the last finished update.
    """
    # RLlib logs a page about its migration; it sets its own level on import, so set the level afterwards.
    import sdar_gym.algorithms.sdar  # noqa: F401

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    logging.getLogger("ray.rllib.utils.actor_manager").addFilter(_is_news)
    stopper = Stopper()
    folder = new_run_folder(run) if resume is None else RunFolder(local_path("--resume", resume))
    if not folder.path.is_dir():
        raise RunFolderError(f"{folder.path} holds no checkpoint to resume from: there is no such folder.")
    with stopper.listening(), ExitStack() as stack:
        try:
            with folder.writing():
                stack.enter_context(locked(folder.path))
            return folder, _Training(run, folder, stopper, report, resumed=resume is not None).whole()
        except RunStopped as stopped:
            name = signal.Signals(stopped.number).name
            raise RunStopped(stopped.number, f"{name} ended the run. {folder.way_back()}") from None
        finally:
            if resume is None:
                remove_if_empty(folder)


def _is_news(record: logging.LogRecord) -> bool:
    """False for errors of remote processes that are told elsewhere: those that are raised, and deaths."""
    from ray.exceptions import RayActorError

    text = record.getMessage()
    known = NonFiniteError.__name__ in text or text.endswith("out of service.") or "previously unhealthy" in text
    return not known and not isinstance(record.msg, RayActorError)


class _Training:
    """One call of `train`, with its folder locked."""

    def __init__(
        self,
        run: RunConfig,
        folder: RunFolder,
        stopper: Stopper,
        report: Callable[[Progress], None],
        *,
        resumed: bool,
    ):
        self.started = time.perf_counter()
        self.folder, self.stopper, self.report = folder, stopper, report
        self.resumption: Resumption | None = None
        if resumed:
            folder.recover()
            self.resumption = plan_resume(folder, run, verify=True)
        self.run = resolved(with_date(run)) if self.resumption is None else self.resumption.run
        # Empty until weights and counters are restored or initialized: no checkpoint is written before.
        self.id = ""
        self.settings = self.run if self.resumption is None else self.resumption.as_written()
        self.first: dict[str, Any] | None = None
        self.latest: dict[str, Any] | None = None
        # Updates of the latest evaluation and of the newest checkpoint.
        self.evaluated = self.saved = -1
        # The update whose evaluation is in progress beside training; lines of later updates wait for its line.
        self.beside: int | None = None
        self.waiting: list[dict[str, Any]] = []
        self.tracking: Tracking | None = None
        self.mirror = None if self.run.mirror is None else Mirror(self.run.mirror, folder)
        if self.mirror is not None:
            manifest = None if self.resumption is None else self.resumption.manifest
            self.mirror.check(*((None, 0) if manifest is None else (manifest.run, manifest.update)))
        self.writer = CheckpointWriter(folder, self.run.checkpoints)
        # Success of the best evaluation that has a checkpoint; below any other if there is none.
        self.best = -1.0
        # Not logged yet.
        self.faults: Counter[str] = Counter()
        # How often learners died since a checkpoint, and that checkpoint's update.
        self.losses, self.lost_at = 0, -1

    def whole(self) -> dict[str, Any]:
        """Train to the end and return the summary."""
        from ray.exceptions import RayActorError

        from sdar_gym.algorithms.sdar import SDARConfig
        from sdar_gym.algorithms.sdar.learner_watch import LearnersLostError

        with _ray():
            while True:
                config = SDARConfig.from_run(self.run)
                # Evaluated here, between two updates, so that a stop signal is obeyed before and after it.
                config.evaluation_interval = None
                self.stopper.listen()
                try:
                    self._with(config.build_algo())
                    break
                except (LearnersLostError, RayActorError) as lost:
                    self._go_back(lost)
        summary = {
            "before": self.first,
            "after": self.latest,
            "updates": self.run.training.iterations,
            "seconds": time.perf_counter() - self.started,
            "run_folder": str(self.folder.path),
        }
        self.folder.write_summary(summary)
        if self.mirror is not None:
            self.mirror.sync(final=True)
        return summary

    def _with(self, algorithm: Any) -> None:
        """Train to the end with one algorithm, and stop it."""
        from ray.exceptions import RayError

        finished = False
        self.stopper.shielded = lambda: algorithm.teacher_in_use
        try:
            self._begin(algorithm)
            self._updates(algorithm)
            self.writer.wait()
            with self.stopper.whole(), self.folder.writing():
                algorithm.export_policy(self.folder.policy)
            finished = True
        except RunStopped:
            # The learners are between two updates: a stop during an update raises at its end.
            if not self.stopper.at_once:
                # The signal is raised again at the end of each; a second one leaves them at once.
                with suppress(RunStopped):
                    self._checkpoint(algorithm)
                with suppress(RunStopped), self.stopper.whole():
                    self.writer.wait()
            if self.stopper.at_once:
                self.writer.abandon()
            raise
        except NonFiniteError as error:
            self.writer.wait()
            # Errors of another process are wrapped, with its traceback.
            told = getattr(error, "cause", error)
            raise NonFiniteError(f"{told} {self.folder.way_back()}") from error
        except Exception:
            # A scheduler may end Ray's processes together with this one; ignore their errors then.
            self.stopper.check()
            self.writer.wait()
            raise
        finally:
            # Of a run that ended by an error; trackers get them when it is resumed.
            with suppress(RunFolderError):
                for record in self.waiting:
                    self.folder.log(record)
            self.beside, self.waiting = None, []
            if self.tracking is not None:
                self.tracking.close(finished=finished)
            if not self.stopper.at_once:
                # Its error was raised, or gives way to the one that is being raised.
                with suppress(RunFolderError):
                    self.writer.wait()
            with suppress(RayError):  # Of processes that are dead already.
                algorithm.stop()

    def _go_back(self, lost: Exception) -> None:
        """Prepare to go on from the last checkpoint, with new learners; without one from the beginning.

        Raises:
            RunFolderError: Learners died several times since that checkpoint.
        """
        self.losses = self.losses + 1 if self.lost_at == self.saved else 1
        self.lost_at = self.saved
        if self.losses > _LOSSES_WITHOUT_PROGRESS:
            raise RunFolderError(
                f"{first_line(lost)} It was time {self.losses} since the last checkpoint; the logs of Ray's workers "
                f"say why (memory?). {self.folder.way_back()}"
            ) from lost
        self.faults["learner_restarts"] += 1
        self.id = ""
        place = f"its last checkpoint, of update {self.saved}" if self.saved >= 0 else "the beginning"
        print(f"{first_line(lost)} The run goes on from {place}, with new processes.", file=sys.stderr)
        if self.saved >= 0:
            self.resumption = plan_resume(self.folder, self.run, verify=True)
            self.run, self.settings = self.resumption.run, self.resumption.as_written()

    def _begin(self, algorithm: Any) -> None:
        """Write the run's record or restore its state; evaluate if the evaluation at this update is missing."""
        resumption = self.resumption
        with self.stopper.whole():
            if resumption is None:
                self.id = self.folder.write_start(self.run, algorithm.panel, stop_tokens(self.run))
            else:
                _restore(algorithm, resumption)
                self.folder.forget_after(resumption.manifest.update)
                resumption.note()
                self.first, self.latest = resumption.first, resumption.latest
                self.id, self.saved = resumption.manifest.run, resumption.manifest.update
                self.best, self.evaluated = resumption.best, resumption.evaluated
            self.tracking = self._tracking()
        done = algorithm.training_iteration
        if resumption is None or (resumption.evaluated < done and self._is_evaluated(done)):
            self._evaluate(algorithm, done)
        if self.saved < 0 or self._is_best(done):
            self._checkpoint(algorithm)
        self._tell(done, self.latest or {})

    def _tracking(self) -> Tracking | None:
        """The run's trackers, with the updates that they lack."""
        if not self.run.trackers:
            return None
        run = TrackedRun(self.id, self.folder.path, settings_of(self.settings), versions())
        return Tracking(self.run.trackers, run, self.folder.records())

    def _log(self, record: dict[str, Any]) -> None:
        """Write a line; `metrics.jsonl` and trackers have an evaluation right behind its update."""
        if self.beside is not None:
            self.waiting.append(record)
            return
        self.folder.log(record)
        if self.tracking is not None:
            self.tracking.log(record)

    def _updates(self, algorithm: Any) -> None:
        from sdar_gym.algorithms.sdar.run_metrics import run_metrics

        done, iterations = algorithm.training_iteration, self.run.training.iterations
        while done < iterations:
            with self.stopper.whole():
                result = algorithm.train()
                done = algorithm.training_iteration
                self._log({"update": done, **self._with_faults(run_metrics(result))})
                # The first update's too: there the policy is farthest from its teacher.
                if done == 1 or self._is_evaluated(done):
                    self.folder.write_episodes(f"train-{done:05d}", algorithm.last_episodes)
                    _write_tokens(algorithm, self.folder, done, self.run.evaluation.token_turns)
            if self._is_evaluated(done):
                self._evaluate(algorithm, done)
            elif algorithm.evaluation_done:
                self._finish_evaluation(algorithm)
            # Whether it is the best is known later, beside training.
            kept = self._is_best(done) or (self.run.checkpoints.best and self.beside == done)
            if done == iterations or done % self.run.checkpoint_interval == 0 or kept:
                self._checkpoint(algorithm)
            if done == iterations:
                self._finish_evaluation(algorithm)
            self.writer.check()
            learned = result.get("learners", {}).get("default_policy", {})
            shown = {name: learned[name] for name in _SHOWN if name in learned}
            self._tell(done, result["env_runners"] | shown | result.get("faults", {}))

    def _is_evaluated(self, done: int) -> bool:
        interval = self.run.evaluation.interval
        return done in (0, self.run.training.iterations) or bool(interval and done % interval == 0)

    def _evaluate(self, algorithm: Any, update: int) -> None:
        """Evaluate, or begin to: beside training the result comes with `_finish_evaluation`."""
        if algorithm.evaluates_beside:
            self._finish_evaluation(algorithm)
            with self.stopper.whole():
                algorithm.begin_evaluation()
                self.beside = update
            return
        started = time.perf_counter()
        result = algorithm.evaluate()
        with self.stopper.whole():
            self._record_evaluation(algorithm, update, result, {"evaluation": time.perf_counter() - started})

    def _finish_evaluation(self, algorithm: Any) -> None:
        """Wait for an evaluation in progress, and write its result under its own update."""
        if self.beside is None:
            return
        algorithm.wait_for_evaluation()
        with self.stopper.whole():
            result, seconds = algorithm.finish_evaluation()
            update, self.beside = self.beside, None
            waiting, self.waiting = self.waiting, []
            self._record_evaluation(algorithm, update, result, seconds)
            for record in waiting:
                self._log(record)
            if update == self.saved and self._is_best(update):
                self._keep_best()

    def _record_evaluation(
        self, algorithm: Any, update: int, result: dict[str, Any], seconds: Mapping[str, float]
    ) -> None:
        with self.folder.writing():
            self.folder.write_episodes(f"eval-{update:05d}", algorithm.last_evaluation)
            self._log({"update": update, "evaluation": result, "seconds": dict(seconds)})
            self.latest, self.evaluated = result, update
            self.first = self.first or result
            title = f"{self.run.name} · {self.run.method}"
            if update:
                draw_curve(self.folder.records(), self.folder.path / "curve.png", title)

    def _is_best(self, update: int) -> bool:
        """Whether this update was evaluated, with a better result than those that have a checkpoint."""
        if not self.run.checkpoints.best or self.latest is None or self.evaluated != update:
            return False
        return float(self.latest["success"]) > self.best

    def _with_faults(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The metrics of an update, with what this process survived before it."""
        faults = Counter(metrics.get("faults", {})) + self.faults
        self.faults.clear()
        return metrics | ({"faults": dict(faults)} if faults else {})

    def _checkpoint(self, algorithm: Any) -> None:
        update = algorithm.training_iteration
        best = self._is_best(update)
        if not self.id or (update == self.saved and not best):
            return
        with self.stopper.whole():
            if self.beside is not None and self.beside < update:
                # A resume evaluates at the checkpoint's own update only, with the weights that are in it.
                self._finish_evaluation(algorithm)
            if update == self.saved:
                self._keep_best()
                return
            self._write_checkpoint(algorithm, best)
            self.saved = update
            if best:
                assert self.latest is not None
                self.best = float(self.latest["success"])
            if self.mirror is not None:
                # The copy needs a whole checkpoint.
                self.writer.wait()
                self.mirror.sync()

    def _keep_best(self) -> None:
        """Keep the newest checkpoint, which is of the latest evaluation's update, as the best one."""
        assert self.latest is not None
        self.writer.wait()
        self.folder.keep_best()
        self.best = float(self.latest["success"])

    def _write_checkpoint(self, algorithm: Any, best: bool) -> None:
        self.writer.write(
            algorithm.resumable_state(),
            best=best,
            in_use=algorithm.learner_group.is_local,
            run=self.id,
            settings=plain_settings(self.settings),
            panel=algorithm.panel.hash,
        )

    def _tell(self, done: int, figures: Mapping[str, Any]) -> None:
        success = None if figures is self.latest else figures.get("success")
        known = success if success is not None and math.isfinite(success) else None
        self.report(Progress(done, self.run.training.iterations, known, self.latest or {}, figures))


def _restore(algorithm: Any, resumption: Resumption) -> None:
    state = read_state(resumption.checkpoint, resumption.manifest)
    try:
        algorithm.set_state(state)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # Its hashes are right, so it was written for another model or by another version of Ray.
        raise CheckpointError(
            f"{resumption.checkpoint} does not fit this run's model and method, or the installed Ray: "
            f"{first_line(getattr(error, 'cause', error))}"
        ) from error


def _write_tokens(algorithm: Any, folder: RunFolder, update: int, turns: int) -> None:
    """Write the token dump of the last update, whole episodes up to a number of turns."""
    dump = algorithm.last_tokens
    if dump is None or not turns:
        return
    owners = [(episode, number) for episode in dump.episodes for number in range(len(episode.turns))]
    rows = []
    for row, (episode, number) in enumerate(owners):
        length = len(episode.turns[number].response_ids)
        values = {name: value[row, :length].tolist() for name, value in dump.values.items()}
        rows.append(
            turn_tokens(
                episode, number, algorithm.tokenizer, advantage=float(dump.base_advantage_B[row]), values=values
            )
        )
    write_tokens(folder.path / "tokens" / f"train-{update:05d}.jsonl", rows, max_turns=turns)


@contextmanager
def _ray() -> Any:
    """A Ray instance: the existing one of this process or job, else a local one without logs for this run only."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.ERROR)
    else:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
