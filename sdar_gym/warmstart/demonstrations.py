"""Demonstrations: an expert's episodes as token sequences, with the prompts that rollouts will have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import RolloutSettings
from sdar_gym.envs.policies import ScriptedPolicy, expert_of
from sdar_gym.envs.prompting import prompt_template
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.policy.chat import ChatFormat
from sdar_gym.rollout.build import build_context
from sdar_gym.rollout.context import PromptTooLongError
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.expert_play import ExpertTurn, expert_turns
from sdar_gym.rollout.trajectory import Episode, TokenSequence, TurnRecord
from sdar_gym.text import shortened

# Useless episodes after which there is no point in playing on.
_PATIENCE = 20


class DemonstrationError(ValueError):
    """Demonstrations that cannot be made, or that a rollout could not have."""


@dataclass(slots=True)
class Demonstrations:
    """An expert's episodes.

    Attributes:
        train: Those to train on.
        held_out: Those of other tasks of the training split.
        unsolved: Tasks that the expert did not solve, which are left out.
        cut: Episodes that end early, or are left out, since a prompt is too long.
    """

    train: list[Episode] = field(default_factory=list)
    held_out: list[Episode] = field(default_factory=list)
    unsolved: int = 0
    cut: int = 0

    def digest(self) -> str:
        """SHA-256 of all token sequences: equal digests make equal training runs."""
        digest = hashlib.sha256()
        for name in ("train", "held_out"):
            for sequence in sequences_of(getattr(self, name)):
                spans = [(span.start, span.stop) for span in sequence.spans]
                digest.update(repr((name, sequence.ids, spans)).encode())
        return digest.hexdigest()


def sequences_of(episodes: Iterable[Episode]) -> list[TokenSequence]:
    """The token sequences of episodes, in order."""
    return [sequence for episode in episodes for sequence in episode.sequences]


class Demonstrator:
    """Writes an expert's episodes as the policy would have sampled them: prompt, response, end token.

    Args:
        tokenizer: The policy's.
        env_id: The environment.
        env_config: Its arguments.
        rollout: How prompts are made.

    Raises:
        DemonstrationError: The environment has no expert, or the prompt template cannot write responses.
    """

    def __init__(self, tokenizer: Any, env_id: str, env_config: dict[str, Any], rollout: RolloutSettings):
        self.expert, self._respond = demonstrating_parts(env_id, rollout.prompt)
        self._tokenizer, self._rollout = tokenizer, rollout
        self._context = build_context(tokenizer, env_id, env_config, rollout)
        chat = ChatFormat(tokenizer, rollout.chat_template_kwargs, rollout.date)
        self._start = chat.response_start
        self._end = int(tokenizer.eos_token_id if chat.turn_end is None else chat.turn_end)

    def episode(self, turns: list[ExpertTurn]) -> Episode:
        """The token sequences of an expert's turns.

        Args:
            turns: The expert's turns, at least one.

        Returns:
            The episode, with the turns before the first prompt that is too long; `ended` says so.

        Raises:
            DemonstrationError: A response is too long, or the parser does not read the action from it.
        """
        info = turns[-1].info
        episode = Episode(
            episode_id=f"expert/{info['task_id']}",
            group_id=0,
            task_id=info["task_id"],
            task_type=info["task_type"],
            split=info["split"],
            goal=info["goal"],
            won=bool(info["won"]),
            score=float(info["score"]),
            ended="won",
        )
        for turn in turns:
            try:
                prompt = self._context.prompt(turn.view)
            except PromptTooLongError:
                episode.ended = "prompt_too_long"
                break
            response = self._response(turn.action)
            ids = [*self._tokenizer.encode(response, add_special_tokens=False), self._end]
            self._refuse_other_action(turn.action, response, ids)
            record = TurnRecord(
                observation=turn.view.observation,
                response=response,
                action=turn.action,
                valid_form=True,
                valid_action=bool(turn.info["action_valid"]),
                reward=turn.reward,
                response_ids=ids,
                old_logp=[],
                weight_version=0,
                admissible_actions=turn.view.admissible_actions,
                dropped_turns=prompt.dropped_turns,
            )
            episode.add_turn(record, prompt.ids)
        return episode

    def _response(self, action: str) -> str:
        """The response with this action, after what the chat template writes of it."""
        text = self._respond(action, think=self._rollout.think)
        if not self._start:
            return text
        # The template opened <think>: the thought continues it, or it is closed at once.
        opening = self._start.strip()
        return text.removeprefix(opening).lstrip("\n") if text.startswith(opening) else f"</think>\n\n{text}"

    def _refuse_other_action(self, action: str, response: str, ids: list[int]) -> None:
        parsed = self._context.parse(response)
        if not parsed.valid or parsed.action != action or self._end in ids[:-1]:
            raise DemonstrationError(
                f"The prompt template cannot express the expert's action {shortened(action)}: from "
                f"{shortened(response)} it reads {shortened(parsed.action)}. Correct `respond` or `parse` of the "
                f"template {self._rollout.prompt!r}."
            )
        if len(ids) > self._rollout.max_response_tokens:
            raise DemonstrationError(
                f"The expert's response {shortened(response)} has {len(ids)} tokens, and "
                f"rollout.max_response_tokens={self._rollout.max_response_tokens} would cut it off. Raise it."
            )


def demonstrating_parts(env_id: str, prompt: str) -> tuple[ScriptedPolicy, Callable[..., str]]:
    """The expert of an environment, and what writes its responses.

    Args:
        env_id: The environment.
        prompt: Name of the prompt template.

    Raises:
        DemonstrationError: It has no expert, or the template has no `respond`.
    """
    expert = expert_of(env_id)
    if expert is None:
        raise DemonstrationError(
            f"{env_id} has no expert, whose episodes a warm start trains on. Register it with expert='module:Class'."
        )
    respond = getattr(prompt_template(env_id, prompt), "respond", None)
    if respond is None:
        raise DemonstrationError(
            f"The prompt template {prompt!r} of {env_id} cannot write responses: it has no method "
            "respond(action, think=...). Add it, or choose another rollout.prompt."
        )
    return expert, respond


def demonstrate(
    run: RunConfig, tokenizer: Any, report: Callable[[int, int], None] = lambda done, total: None
) -> Demonstrations:
    """Plays the expert in tasks of the training split, which `seed` chooses.

    Held-out episodes are of training tasks too, and share no leakage group with those trained on. The evaluation
    split is never touched: it measures success afterwards, and would not if epochs or learning rate were chosen by it.

    Args:
        run: The configuration.
        tokenizer: The policy's.
        report: Called with the numbers of finished and of all episodes.

    Raises:
        DemonstrationError: There is nothing to train on, most prompts are too long, or a response cannot be written.
    """
    demonstrator = Demonstrator(tokenizer, run.env, run.env_config, run.rollout)
    settings = run.warmstart
    result = Demonstrations()
    env = make_env(run.env, run.env_config)
    try:
        tasks = iter(_shuffled(env.task_ids(), run.seed))
        total = settings.held_out + settings.episodes
        groups: set[str] = set()
        for goal, kept in ((settings.held_out, result.held_out), (settings.episodes, result.train)):
            while len(kept) < goal:
                task_id = next(tasks, None)
                if task_id is None:
                    break
                if kept is result.train and env.task_group(task_id) in groups:
                    continue
                if _add(env, demonstrator, task_id, kept, result) and kept is result.held_out:
                    groups.add(env.task_group(task_id))
                _refuse_unusable(run, result, finished=False)
                report(len(result.held_out) + len(result.train), total)
    finally:
        env.close()
    _refuse_unusable(run, result, finished=True)
    return result


def _add(env: TextEnv, demonstrator: Demonstrator, task_id: str, kept: list[Episode], result: Demonstrations) -> bool:
    """Plays one task; returns whether its episode was added."""
    turns = expert_turns(env, demonstrator.expert, task_id)
    if not turns:
        result.unsolved += 1
        return False
    episode = demonstrator.episode(turns)
    result.cut += episode.ended == "prompt_too_long"
    if not episode.turns:
        return False
    kept.append(episode)
    return True


def _refuse_unusable(run: RunConfig, result: Demonstrations, *, finished: bool) -> None:
    kept = len(result.train) + len(result.held_out)
    if result.cut > (kept / 2 if finished else kept + _PATIENCE):
        raise DemonstrationError(
            f"{result.cut} of {kept + result.unsolved + result.cut} episodes end early or are left out, since a prompt "
            f"is longer than rollout.max_prompt_tokens={run.rollout.max_prompt_tokens}. Raise it, or use a shorter "
            "rollout.prompt."
        )
    if result.unsolved > _PATIENCE * (kept + 1) or (finished and not result.train):
        raise DemonstrationError(
            f"There are too few episodes to train on: the expert of {run.env} left {result.unsolved} training task(s) "
            f"unsolved, and {len(result.held_out)} are held out, with all tasks of their leakage groups. Correct the "
            "expert, or lower warmstart.held_out."
        )


def _shuffled(task_ids: Iterable[str], seed: int) -> Iterator[str]:
    """The tasks in an order that depends on seed and ids alone."""
    return iter(sorted(task_ids, key=lambda one: hashlib.sha256(f"warm start {seed} {one}".encode()).digest()))
