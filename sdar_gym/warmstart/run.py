"""Warm-start run: checks, demonstrations, training with checkpoints, export; can be interrupted and resumed exactly."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_gym.configs import load_config
from sdar_gym.configs.record import resolved, settings_of, versions
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.prompting import prompt_template
from sdar_gym.files import replace_text
from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.policy import trained_prompt
from sdar_gym.policy.device import choose_device
from sdar_gym.policy.load import load_tokenizer, pad_id
from sdar_gym.policy.policy_model import merged_policy
from sdar_gym.policy.preflight import check_policy
from sdar_gym.policy.saving import save_model
from sdar_gym.policy.sizing import TrainingSizes, choose_training_sizes, learner_machine, model_shape
from sdar_gym.rollout.environments import make_env
from sdar_gym.runs.check import stop_tokens, with_date
from sdar_gym.runs.checkpoint import CheckpointError, read_state, verify_checkpoint, write_checkpoint
from sdar_gym.runs.folder import RunFolder, RunFolderError, remove_if_empty
from sdar_gym.runs.lock import locked
from sdar_gym.runs.resume import plain_settings
from sdar_gym.runs.stop import RunStopped, Stopper
from sdar_gym.warmstart.demonstrations import Demonstrations, demonstrate, sequences_of
from sdar_gym.warmstart.demonstrator import demonstrating_parts
from sdar_gym.warmstart.supervised import SupervisedTrainer, response_tokens

# The record of a warm start; a run folder with it is continued by `sdar-gym warmstart --resume`.
RECORD = "warmstart.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress report of a warm start.

    Attributes:
        phase: `episodes`, while the expert plays, or `steps`.
        done: Number of episodes or steps done.
        total: Number of them in all.
        loss: Loss of the last step; None before the first.
        held_out: The last held-out loss; None if there is none.
        speed: Tokens per second of the last step; None before the first.
    """

    phase: str
    done: int
    total: int
    loss: float | None = None
    held_out: float | None = None
    speed: float | None = None


def check_warm_start(run: RunConfig) -> list[str]:
    """Checks model, environment, expert, prompt template and lengths before the work.

    Returns:
        Notes for the user, a sentence each.

    Raises:
        ValueError: Says what is wrong and how to fix it.
    """
    choose_device(run.policy.device)
    demonstrating_parts(run)
    facts = check_policy(
        run.policy.model,
        rollout=run.rollout,
        policy=run.policy,
        template=prompt_template(run.env, run.rollout.prompt),
    )
    env = make_env(run.env, run.env_config)
    try:
        env.check_ready()
    finally:
        env.close()
    return [_sizes(run).note, *facts.notes]


def resumed_warm_start(folder: Path) -> RunConfig:
    """The configuration of a warm start that is to be continued.

    Args:
        folder: Its folder.

    Raises:
        RunFolderError: It is not the folder of a warm start, or its configuration leaves out secrets.
    """
    place = RunFolder(local_path("--resume", folder))
    if not (place.path / RECORD).is_file():
        raise RunFolderError(
            f"{place.path} is no warm start: it has no {RECORD}. A run of `sdar-gym train` is continued by "
            f"sdar-gym train --resume {place.path}."
        )
    if place.secrets():
        raise RunFolderError(
            f"{place.path} cannot be continued: its config.yaml leaves out the secrets in "
            f"{', '.join(place.secrets())}. Start again, without passwords in addresses."
        )
    return load_config(str(place.config))


def warm_start_model(
    run: RunConfig, output: Path, *, resume: bool = False, report: Callable[[Progress], None] = lambda progress: None
) -> dict[str, Any]:
    """Trains a model on the expert's episodes. Call `check_warm_start` first: it reports errors before the work.

    Args:
        run: The configuration; for a continued warm start, that of `resumed_warm_start`.
        output: Run folder: new or empty, or the one to continue.
        resume: Whether to continue.
        report: Called after every episode and every step.

    Returns:
        The record, as in `warmstart.json`.

    Raises:
        ValueError: The folder is in use or not empty, its checkpoint does not fit, or a loss is not finite.
        RunStopped: SIGTERM or SIGINT ended it, with a checkpoint of the last finished step.
    """
    folder = RunFolder(local_path("output", output))
    if not resume:
        _make(folder)
    stopper = Stopper()
    with stopper.listening(), ExitStack() as stack:
        try:
            with folder.writing():
                stack.enter_context(locked(folder.path))
            return _WarmStart(run, folder, stopper, report, resumed=resume).whole()
        except RunStopped as stopped:
            name = signal.Signals(stopped.number).name
            way = f"--resume {folder.path} continues it." if (folder.path / RECORD).is_file() else "Start it again."
            raise RunStopped(stopped.number, f"{name} ended the warm start. {way}") from None
        finally:
            if not resume:
                remove_if_empty(folder)


class _WarmStart:
    """One call of `warm_start_model`, with its folder locked."""

    def __init__(
        self,
        run: RunConfig,
        folder: RunFolder,
        stopper: Stopper,
        report: Callable[[Progress], None],
        *,
        resumed: bool,
    ):
        self.folder, self.stopper, self.report = folder, stopper, report
        self.started = time.perf_counter()
        self.saved = -1
        self.held_out: float | None = None
        if resumed:
            folder.recover()
            self.run, self.id = run, folder.run_id()
            self.record = _record_of(folder)
        else:
            self.run = resolved(with_date(run))
            self.id = folder.write_start(self.run, None, stop_tokens(self.run))
            self.record = {"settings": settings_of(self.run), **versions()}
            self._write_record()

    def whole(self) -> dict[str, Any]:
        """Plays the expert, trains to the end, exports the policy and returns the record."""
        run = self.run
        tokenizer = load_tokenizer(run.policy.model)
        shown = demonstrate(run, tokenizer, lambda done, total: self.report(Progress("episodes", done, total)))
        train, held_out = sequences_of(shown.train), sequences_of(shown.held_out)
        digest = shown.digest()
        device = choose_device(run.policy.device)
        trainer = SupervisedTrainer(run, train, _sizes(run), device, pad_id(tokenizer))
        self._restore(trainer, digest)
        self.record["demonstrations"] = _description(shown)
        self._write_record()
        try:
            self._train(trainer, held_out, digest)
        except RunStopped:
            # Between two steps: a stop during a step raises at its end.
            if not self.stopper.at_once:
                self._checkpoint(trainer, digest)
            raise
        with self.stopper.whole(), self.folder.writing():
            model = merged_policy(run.policy.model, run.policy.dtype, run.policy.lora, trainer.weights())
            texts = {trained_prompt.FILE: trained_prompt.prompt_record_text(run.rollout)}
            save_model(model, tokenizer, self.folder.policy, texts)
            records = self.folder.records()
            losses = [record["held_out_loss"] for record in records if "held_out_loss" in record]
            self.record["result"] = {
                "steps": trainer.steps,
                "loss_first": next(record["loss"] for record in records if "loss" in record),
                "loss_last": next(record["loss"] for record in reversed(records) if "loss" in record),
                "held_out_before": losses[0] if losses else None,
                "held_out_after": losses[-1] if losses else None,
                "tokens": sum(record.get("tokens", 0) for record in records),
                "seconds": sum(record.get("seconds", 0.0) for record in records),
            }
            self._write_record()
        return self.record

    def _train(self, trainer: SupervisedTrainer, held_out: list[Any], digest: str) -> None:
        if trainer.done == 0 and self.held_out is None:
            self._measure(trainer, held_out)
        self.report(Progress("steps", trainer.done, trainer.steps, held_out=self.held_out))
        while trainer.done < trainer.steps:
            with self.stopper.whole():
                began = time.perf_counter()
                result = trainer.step()
                seconds = time.perf_counter() - began
                self.folder.log(
                    {
                        "update": trainer.done,
                        "loss": result.loss,
                        "lr": result.lr,
                        "grad_norm": result.grad_norm,
                        "tokens": result.tokens,
                        "response_tokens": result.response_tokens,
                        "seconds": seconds,
                        "tokens_per_second": result.tokens / max(seconds, 1e-9),
                    }
                )
                interval = self.run.warmstart.held_out_interval
                if trainer.done == trainer.steps or (interval and trainer.done % interval == 0):
                    self._measure(trainer, held_out)
                if trainer.done == trainer.steps or trainer.done % self.run.checkpoint_interval == 0:
                    self._checkpoint(trainer, digest)
            speed = result.tokens / max(seconds, 1e-9)
            self.report(Progress("steps", trainer.done, trainer.steps, result.loss, self.held_out, speed))

    def _measure(self, trainer: SupervisedTrainer, held_out: list[Any]) -> None:
        if not held_out:
            return
        with self.stopper.whole():
            self.held_out = trainer.loss_of(held_out)
            self.folder.log({"update": trainer.done, "held_out_loss": self.held_out})

    def _checkpoint(self, trainer: SupervisedTrainer, digest: str) -> None:
        if trainer.done == self.saved:
            return
        state = {
            "training_iteration": trainer.done,
            "demonstrations": digest,
            "held_out_loss": self.held_out,
            "learner_group": {
                "learner": {"rl_module": trainer.weights(), "optimizer": trainer.optimizer_state()},
            },
        }
        with self.stopper.whole(), self.folder.fresh_checkpoint() as fresh:
            write_checkpoint(fresh, state, run=self.id, settings=plain_settings(self.run), panel="")
        self.saved = trainer.done

    def _restore(self, trainer: SupervisedTrainer, digest: str) -> None:
        """Continues from the newest checkpoint, if there is one."""
        place = self.folder.checkpoint
        if not place.exists():
            self.folder.forget_after(-1)
            return
        manifest = verify_checkpoint(place)
        if manifest.run != self.id:
            raise CheckpointError(f"{place} belongs to another run. Put back the checkpoint of this one.")
        if manifest.settings != plain_settings(self.run):
            raise CheckpointError(f"{self.folder.config} was changed since {place} was written. Put it back.")
        state = read_state(place, manifest)
        if state.get("demonstrations") != digest:
            raise CheckpointError(
                f"The expert's episodes are not those that {place} was trained on: the environment's data, the "
                "tokenizer or the version of sdar-gym is another one. Put it back, or start again."
            )
        learner = state["learner_group"]["learner"]
        trainer.restore(manifest.update, learner["rl_module"], learner["optimizer"])
        self.held_out, self.saved = state["held_out_loss"], manifest.update
        self.folder.forget_after(manifest.update)

    def _write_record(self) -> None:
        with self.folder.writing():
            replace_text(self.folder.path / RECORD, json.dumps(self.record, indent=1, ensure_ascii=False) + "\n")


def _sizes(run: RunConfig) -> TrainingSizes:
    device = choose_device(run.policy.device)
    return choose_training_sizes(
        model_shape(run.policy.model),
        learner_machine(device.type == "cuda", device.index or 0),
        half=run.policy.dtype == "bfloat16",
        lora=run.policy.lora is not None,
        models_beside=0,
        micro_batch_tokens=run.training.micro_batch_tokens,
        gradient_checkpointing=run.policy.gradient_checkpointing,
    )


def _description(shown: Demonstrations) -> dict[str, Any]:
    """Tasks and sizes of the demonstrations."""
    about: dict[str, Any] = {
        "sha256": shown.digest(),
        "unsolved_tasks": shown.unsolved,
        "cut_episodes": dict(shown.cut),
    }
    for name in ("train", "held_out"):
        episodes = getattr(shown, name)
        sequences = sequences_of(episodes)
        about[name] = {
            "episodes": len(episodes),
            "turns": sum(len(episode.turns) for episode in episodes),
            "sequences": len(sequences),
            "tokens": sum(len(sequence.ids) for sequence in sequences),
            "response_tokens": response_tokens(sequences),
            "tasks": [episode.task_id for episode in episodes],
        }
    return about


def _record_of(folder: RunFolder) -> dict[str, Any]:
    try:
        content = json.loads((folder.path / RECORD).read_text(encoding="utf-8"))
    except (*DAMAGED, ValueError) as error:
        raise RunFolderError(f"{folder.path / RECORD} cannot be read: {first_line(error)}.") from error
    return dict(content)


def _make(folder: RunFolder) -> None:
    """Makes a new folder for a warm start, which must not hold anything."""
    with folder.writing():
        folder.path.mkdir(parents=True, exist_ok=True)
        if any(folder.path.iterdir()):
            raise RunFolderError(
                f"{folder.path} is not empty. Name a new folder, or continue a warm start: --resume {folder.path}."
            )
