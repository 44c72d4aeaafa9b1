"""The collector: plays a batch of episodes in lockstep, one batched generation per turn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol

import gymnasium

from sdar_gym.envs.prompting import EpisodeView, PastTurn, PrivilegedContext, skill_context
from sdar_gym.paths import first_line
from sdar_gym.policy.chat import decode_response
from sdar_gym.rollout.context import ContextBuilder, Prompt, PromptTooLongError
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, SamplingParams
from sdar_gym.rollout.metrics import environment_metrics
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.skills import LearningRetriever, Retriever
from sdar_gym.skills.lookup import retrieve_for
from sdar_gym.skills.strategies.controls import NoRetriever
from sdar_gym.text import shortened


class Decoder(Protocol):
    """The part of a tokenizer that the collector uses."""

    def decode(self, token_ids: list[int], **kwargs: Any) -> Any:
        """Text of token ids."""
        ...


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """One episode to play.

    Attributes:
        task_id: The task.
        group_id: Episodes with the same group id play the same task from the same seed.
        member: Position in the group; with the seed it decides the draws.
        seed: Seed of the whole collection.
    """

    task_id: str
    group_id: int
    member: int
    seed: int


@dataclass(slots=True)
class _Running:
    """An episode in progress."""

    request: EpisodeRequest
    env: gymnasium.Env[str, str]
    episode: Episode
    observation: str
    info: dict[str, Any]
    skills: PrivilegedContext | None
    history: list[PastTurn] = field(default_factory=list)


class Collector:
    """Plays batches of episodes with one engine.

    Args:
        engine: Samples the responses.
        tokenizer: Decodes them.
        make_env: Makes one environment; environments are reused.
        context: Builds prompts.
        retriever: Finds the teacher's skills.
        env_name: The environment's name in skill queries.
        teacher_prompts: Whether prompts with skills are built, for a teacher to score.
        skills_in_prompt: Whether the acting policy sees the skills itself (to measure the teacher).
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Decoder,
        make_env: Callable[[], gymnasium.Env[str, str]],
        context: ContextBuilder,
        retriever: Retriever,
        env_name: str,
        *,
        teacher_prompts: bool,
        skills_in_prompt: bool = False,
    ):
        self._engine = engine
        self._tokenizer = tokenizer
        self._make_env = make_env
        self._context = context
        self._retriever = retriever
        self._env_name = env_name
        self._teacher_prompts = teacher_prompts
        self._skills_in_prompt = skills_in_prompt
        self._idle: list[gymnasium.Env[str, str]] = []

    def collect(self, requests: Sequence[EpisodeRequest], params: SamplingParams) -> list[Episode]:
        """Plays all requested episodes to their end.

        Args:
            requests: What to play.
            params: How to sample.

        Returns:
            One episode per request, in the same order. An episode has no turns if its first prompt is too long, and its
            `error` is set if the environment raised one; other episodes are not affected.
        """
        started = [self._start(request) for request in requests]
        active = [run for run in started if isinstance(run, _Running)]
        while active:
            active = self._turn(active, params)
        return [run.episode if isinstance(run, _Running) else run for run in started]

    def set_retriever_state(self, state: Mapping[str, Any]) -> None:
        """Sets the state of a learning retriever, for the episodes that are collected from now on.

        Args:
            state: From `LearningRetriever.get_state` of the retriever that observes the rewards.

        Raises:
            ValueError: The retriever does not learn, or the state is not of its kind.
        """
        if not isinstance(self._retriever, LearningRetriever):
            raise ValueError(
                f"The retrieval strategy {self._retriever.name!r} learns nothing and takes no state; use 'ucb', or "
                "check isinstance(retriever, LearningRetriever) first."
            )
        self._retriever.set_state(state)

    def close(self) -> None:
        """Closes all environments."""
        for env in self._idle:
            env.close()
        self._idle.clear()

    def _start(self, request: EpisodeRequest) -> _Running | Episode:
        episode = Episode(
            episode_id=f"{request.group_id}/{request.member}",
            group_id=request.group_id,
            member=request.member,
            task_id=request.task_id,
            task_type="",
            split="",
            goal="",
        )
        # Not part of the task: an error while making an environment ends the run.
        env = self._idle.pop() if self._idle else self._make_env()
        try:
            observation, info = env.reset(
                seed=_seed(request.seed, "reset", request.group_id), options={"task_id": request.task_id}
            )
        except Exception as error:
            _fail(episode, env, error, "reset")
            return episode
        episode.task_type, episode.split, episode.goal = info["task_type"], info["split"], info["goal"]
        retrieval = retrieve_for(self._retriever, self._env_name, info, observation, stacklevel=3)
        episode.skills = retrieval.ids
        episode.skills_specific = None if self._retriever.name == NoRetriever.name else retrieval.specific
        episode.skill_scores = tuple(scored.score for scored in retrieval.skills)
        episode.skill_strategy, episode.skill_backend = retrieval.strategy, retrieval.backend
        return _Running(request, env, episode, observation, info, skill_context(retrieval.text))

    def _turn(self, active: list[_Running], params: SamplingParams) -> list[_Running]:
        prompts: list[tuple[_Running, Prompt, list[int] | None]] = []
        for run in active:
            view = EpisodeView(
                run.info["goal"], tuple(run.history), run.observation, tuple(run.info["admissible_actions"])
            )
            try:
                prompt = self._context.prompt(view, run.skills if self._skills_in_prompt else None)
            except PromptTooLongError:
                self._finish(run, "prompt_too_long")
                continue
            prompts.append((run, prompt, self._teacher_ids(view, run.skills)))
        if not prompts:
            return []
        results = self._engine.generate(
            [
                GenerationRequest(
                    prompt.ids, _seed(run.request.seed, run.request.group_id, run.request.member, len(run.history))
                )
                for run, prompt, _ in prompts
            ],
            params,
        )
        unfinished = []
        for (run, prompt, teacher), result in zip(prompts, results, strict=True):
            text = decode_response(self._tokenizer, result.token_ids, self._engine.stop_ids)
            parsed = self._context.parse(text)
            try:
                observation, reward, terminated, truncated, info = run.env.step(parsed.action)
                if not isfinite(reward):
                    raise ValueError(f"the reward is {reward}, which is no finite number")
            except Exception as error:
                _fail(run.episode, run.env, error, f"turn {len(run.history) + 1}, action {shortened(parsed.action)}")
                continue
            run.episode.add_turn(
                TurnRecord(
                    observation=run.observation,
                    response=text,
                    action=parsed.action,
                    valid_form=parsed.valid,
                    valid_action=bool(info["action_valid"]),
                    reward=float(reward),
                    response_ids=result.token_ids,
                    old_logp=result.logprobs,
                    weight_version=result.weight_version,
                    admissible_actions=tuple(run.info["admissible_actions"]),
                    finish_reason=result.finish_reason,
                    tagged=parsed.tagged,
                    dropped_turns=prompt.dropped_turns,
                    teacher_too_long=teacher is None,
                ),
                prompt.ids,
                teacher,
            )
            run.history.append(PastTurn(run.observation, parsed.action, parsed.tagged))
            run.observation, run.info = observation, info
            if terminated or truncated:
                self._finish(run, "won" if info["won"] else "lost" if terminated else "truncated")
            else:
                unfinished.append(run)
        return unfinished

    def _teacher_ids(self, view: EpisodeView, skills: PrivilegedContext | None) -> list[int] | None:
        """The teacher's prompt; empty without a teacher, None if the prompt is too long."""
        if not self._teacher_prompts or skills is None:
            return []
        try:
            return self._context.prompt_ids(view, skills)
        except PromptTooLongError:
            return None

    def _finish(self, run: _Running, ended: str) -> None:
        run.episode.ended = ended
        run.episode.won = bool(run.info["won"])
        run.episode.score = float(run.info["score"])
        run.episode.metrics = environment_metrics(run.info)
        self._idle.append(run.env)


def _fail(episode: Episode, env: gymnasium.Env[str, str], error: Exception, where: str) -> None:
    """Ends an episode after an error of its environment, which is not used again."""
    episode.ended = "error"
    episode.error = f"Task {shortened(episode.task_id)}, {where}: {type(error).__name__}: {first_line(error)}"
    # Best effort: the environment may be in any state.
    with suppress(Exception):
        env.close()


def _seed(*parts: object) -> int:
    """A 64-bit seed from any values: equal values give equal draws in every process."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")
