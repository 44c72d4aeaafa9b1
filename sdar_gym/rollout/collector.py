"""Plays many episodes at once: one batched generation a turn, and episodes that end leave the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium

from sdar_gym.envs.prompting import EpisodeView, PastTurn
from sdar_gym.rollout.context import ContextBuilder, PromptTooLongError
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, SamplingParams
from sdar_gym.rollout.episode import Episode, TurnRow
from sdar_gym.skills import LearningRetriever, NoRetriever, Retriever, SkillQuery, warn_once


class Decoder(Protocol):
    """What is asked of a tokenizer here."""

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
        seed: Of the whole collection.
    """

    task_id: str
    group_id: int
    member: int
    seed: int


@dataclass(slots=True)
class _Running:
    request: EpisodeRequest
    env: gymnasium.Env[str, str]
    episode: Episode
    observation: str
    info: dict[str, Any]
    skill_text: str
    history: list[PastTurn] = field(default_factory=list)


class Collector:
    """Plays episodes.

    Args:
        engine: Samples the answers.
        tokenizer: Decodes them.
        make_env: Makes one environment; environments are kept and used again.
        context: Builds prompts.
        retriever: Finds the teacher's skills.
        env_name: The environment's name in skill queries.
        teacher_prompts: Whether prompts with the skills in them are built, for a teacher to score.
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
        """Play all requested episodes to their end.

        Args:
            requests: What to play.
            params: How to sample.

        Returns:
            One episode a request, in the same order.
        """
        started = [self._start(request) for request in requests]
        active = started
        while active:
            active = self._turn(active, params)
        return [run.episode for run in started]

    def set_retriever_state(self, state: Mapping[str, Any]) -> None:
        """Give the retriever what another one has learned; the episodes collected from now on are served by it.

        Args:
            state: What `LearningRetriever.get_state` of the one that observes returned.

        Raises:
            ValueError: The retriever does not learn, or the state is not of its kind.
        """
        if not isinstance(self._retriever, LearningRetriever):
            raise ValueError(
                f"The retrieval strategy {self._retriever.name!r} learns nothing and takes no state; use 'ucb', or ask "
                "isinstance(retriever, LearningRetriever) first."
            )
        self._retriever.set_state(state)

    def close(self) -> None:
        """Close all environments."""
        for env in self._idle:
            env.close()
        self._idle.clear()

    def _start(self, request: EpisodeRequest) -> _Running:
        env = self._idle.pop() if self._idle else self._make_env()
        observation, info = env.reset(
            seed=_seed(request.seed, "reset", request.group_id), options={"task_id": request.task_id}
        )
        query = SkillQuery(self._env_name, info["task_type"], info["goal"], observation=observation)
        retrieval = self._retriever.retrieve(query)
        warn_once(self._retriever, query, retrieval, stacklevel=3)
        episode = Episode(
            episode_id=f"{request.group_id}/{request.member}",
            group_id=request.group_id,
            task_id=request.task_id,
            task_type=info["task_type"],
            split=info["split"],
            goal=info["goal"],
            skills=retrieval.ids,
            skills_specific=None if self._retriever.name == NoRetriever.name else retrieval.specific,
            skill_scores=tuple(scored.score for scored in retrieval.skills),
            skill_strategy=retrieval.strategy,
            skill_backend=retrieval.backend,
        )
        return _Running(request, env, episode, observation, info, retrieval.text)

    def _turn(self, active: list[_Running], params: SamplingParams) -> list[_Running]:
        prompts: list[tuple[_Running, list[int], list[int]]] = []
        for run in active:
            view = EpisodeView(
                run.info["goal"], tuple(run.history), run.observation, tuple(run.info["admissible_actions"])
            )
            try:
                shown = run.skill_text if self._skills_in_prompt else ""
                prompt = self._context.prompt_ids(view, shown)
                teaches = self._teacher_prompts and run.skill_text
                teacher = self._context.prompt_ids(view, run.skill_text) if teaches else []
            except PromptTooLongError:
                if not run.episode.turns:
                    raise  # The very first prompt: a setting, not bad luck.
                self._finish(run, "prompt_too_long")
                continue
            prompts.append((run, prompt, teacher))
        answers = self._engine.generate(
            [
                GenerationRequest(
                    prompt, _seed(run.request.seed, run.request.group_id, run.request.member, len(run.history))
                )
                for run, prompt, _ in prompts
            ],
            params,
        )
        going_on = []
        for (run, prompt, teacher), answer in zip(prompts, answers, strict=True):
            text = str(self._tokenizer.decode(answer.token_ids, skip_special_tokens=True))
            parsed = self._context.parse(text)
            observation, reward, terminated, truncated, info = run.env.step(parsed.action)
            run.episode.turns.append(
                TurnRow(
                    observation=run.observation,
                    response=text,
                    action=parsed.action,
                    valid_form=parsed.valid,
                    valid_action=bool(info["action_valid"]),
                    reward=float(reward),
                    prompt_ids=prompt,
                    response_ids=answer.token_ids,
                    logprobs=answer.logprobs,
                    teacher_prompt_ids=teacher,
                    weight_version=answer.weight_version,
                    admissible_actions=tuple(run.info["admissible_actions"]),
                )
            )
            run.history.append(PastTurn(run.observation, parsed.action))
            run.observation, run.info = observation, info
            if terminated or truncated:
                self._finish(run, "won" if info["won"] else "lost" if terminated else "truncated")
            else:
                going_on.append(run)
        return going_on

    def _finish(self, run: _Running, ended: str) -> None:
        run.episode.ended = ended
        run.episode.won = bool(run.info["won"])
        run.episode.score = float(run.info["score"])
        self._idle.append(run.env)


def _seed(*parts: object) -> int:
    """A 64-bit seed from anything: the same parts give the same draws in every process."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")
