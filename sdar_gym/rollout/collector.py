"""The collector: plays a batch of episodes, whose responses an engine samples together."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from sdar_gym.envs.prompting import EpisodeView, PastTurn, PrivilegedContext, skill_context
from sdar_gym.freed_memory import return_freed_memory
from sdar_gym.paths import first_line
from sdar_gym.policy.chat import decode_response
from sdar_gym.rollout.collector_interfaces import Decoder, Prompts, Responder
from sdar_gym.rollout.context import ContextFullError, Prompt, PromptTooLongError
from sdar_gym.rollout.contract import check_reset, check_step
from sdar_gym.rollout.engines.base import GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.metrics import environment_metrics
from sdar_gym.rollout.time_limits import TimeLimits
from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.skills import LearningRetriever, Retriever
from sdar_gym.skills.lookup import retrieve_for
from sdar_gym.skills.strategies.controls import NoRetriever
from sdar_gym.text import shortened, well_formed


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """One episode to play.

    Attributes:
        task_id: The task.
        group_id: Episodes with the same group id play the same task from the same seed.
        member: Position in the group; with the seed it decides the draws.
        seed: Seed of the whole collection.
        privileged: What the acting policy reads beyond the student's prompt, to measure a teacher; None for nothing.
    """

    task_id: str
    group_id: int
    member: int
    seed: int
    privileged: PrivilegedContext | None = None

    @property
    def reset_seed(self) -> int:
        """Seed of the environment's reset, the same for all members of a group."""
        return _seed(self.seed, "reset", self.group_id)


@dataclass(slots=True)
class _Running:
    """An episode in progress."""

    request: EpisodeRequest
    env: gymnasium.Env[str, str]
    episode: Episode
    observation: str
    info: dict[str, Any]
    skills: PrivilegedContext | None
    control: PrivilegedContext | None = None
    history: list[PastTurn] = field(default_factory=list)
    prompt: Prompt | None = None
    teacher_ids: list[int] | None = None
    control_ids: list[int] | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def view(self) -> EpisodeView:
        return EpisodeView(
            self.info["goal"], tuple(self.history), self.observation, tuple(self.info["admissible_actions"])
        )


class Collector:
    """Plays batches of episodes with one engine.

    Args:
        engine: Samples the responses.
        tokenizer: Decodes them; None for a server, which sends text.
        make_env: Makes one environment; environments are reused.
        context: Builds prompts.
        retriever: Finds the teacher's skills.
        env_name: The environment's name in skill queries.
        teacher_prompts: Whether prompts with skills are built, for a teacher to score.
        skills_in_prompt: Whether the acting policy sees the skills itself (to measure the teacher).
        episode_limits: Limits of each episode.
        control_texts: Other texts of the skills by their ids; with them the teacher's prompts are also built with these
            in the place of the skills.
        time_limits: Limits of environment and engine, past which they count as hung; none by default.
    """

    def __init__(
        self,
        engine: Responder,
        tokenizer: Decoder | None,
        make_env: Callable[[], gymnasium.Env[str, str]],
        context: Prompts,
        retriever: Retriever,
        env_name: str,
        *,
        teacher_prompts: bool,
        skills_in_prompt: bool = False,
        episode_limits: EpisodeLimits | None = None,
        control_texts: Mapping[str, str] | None = None,
        time_limits: TimeLimits | None = None,
    ):
        self._engine = engine
        self._tokenizer = tokenizer
        self._make_env = make_env
        self._context = context
        self._retriever = retriever
        self._env_name = env_name
        self._teacher_prompts = teacher_prompts
        self._skills_in_prompt = skills_in_prompt
        self._limits = episode_limits or EpisodeLimits()
        self._control_texts = control_texts
        self._time_limits = time_limits or TimeLimits()
        self._idle: list[gymnasium.Env[str, str]] = []

    def collect(
        self,
        requests: Sequence[EpisodeRequest],
        params: SamplingParams,
        *,
        at_once: int | None = None,
        finished: Callable[[Episode], None] = lambda episode: None,
    ) -> list[Episode]:
        """Plays all requested episodes to their end.

        Args:
            requests: What to play.
            params: How to sample.
            at_once: Most episodes in progress: the next begins where one has ended. For servers only, since an engine
                frees a conversation's session when nothing follows a response. None begins all of them.
            finished: Called with each episode at its end.

        Returns:
            One episode per request, in the same order. An episode has no turns if its first prompt is too long, and its
            `error` is set if the environment raised one, or the server gave no response; other episodes are not
            affected.
        """
        waiting = deque(enumerate(requests))
        episodes: dict[int, Episode] = {}
        playing: list[_Running] = []

        def begin() -> tuple[_Running, GenerationRequest] | None:
            """The next episode that asks for a response."""
            while waiting:
                number, request = waiting.popleft()
                run = self._start(request)
                episodes[number] = run.episode if isinstance(run, _Running) else run
                asked = self._next_request(run) if isinstance(run, _Running) else None
                if isinstance(run, _Running) and asked is not None:
                    return run, asked
                finished(episodes[number])
            return None

        def then(number: int, result: GenerationResult) -> GenerationRequest | None:
            run = playing[number]
            asked = self._next_request(run) if self._step(run, result) else None
            if asked is not None:
                return asked
            finished(run.episode)
            following = begin()
            if following is None:
                return None
            playing[number], asked = following
            return asked

        first: list[GenerationRequest] = []
        with self._time_limits.watching():
            while (at_once is None or len(first) < at_once) and (begun := begin()) is not None:
                playing.append(begun[0])
                first.append(begun[1])
            self._engine.converse(first, params, then)
        return_freed_memory()
        return [episodes[number] for number in range(len(requests))]

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
            with self._time_limits:
                observation, info = env.reset(seed=request.reset_seed, options={"task_id": request.task_id})
            check_reset(observation, info)
        except Exception as error:
            self._fail(episode, env, error, "reset")
            return episode
        episode.task_type, episode.split, episode.goal = info["task_type"], info["split"], info["goal"]
        episode.reference = _text(info.get("reference")) or ""
        retrieval = retrieve_for(self._retriever, self._env_name, info, observation, stacklevel=3)
        episode.skills = retrieval.ids
        episode.skills_specific = None if self._retriever.name == NoRetriever.name else retrieval.specific
        episode.skill_scores = tuple(scored.score for scored in retrieval.skills)
        episode.skill_strategy, episode.skill_backend = retrieval.strategy, retrieval.backend
        control = None
        if self._control_texts is not None:
            texts = {scored.skill.id: self._control_texts[scored.skill.id] for scored in retrieval.skills}
            control = skill_context(retrieval.with_texts(texts).text)
        return _Running(request, env, episode, observation, info, skill_context(retrieval.text), control)

    def _next_request(self, run: _Running) -> GenerationRequest | None:
        """The request of the next turn; None if its prompt is too long, which ends the episode."""
        view = run.view
        try:
            shown = run.request.privileged or (run.skills if self._skills_in_prompt else None)
            run.prompt = self._context.next_prompt(run.episode, view, shown)
        except PromptTooLongError:
            return self._finish(run, "prompt_too_long")
        except ContextFullError:
            return self._finish(run, "context_full")
        if not run.prompt.continues:
            run.teacher_ids = self._teacher_prompt(run, view, run.skills)
            run.control_ids = self._teacher_prompt(run, view, run.control)
            if run.control_ids is None:  # A teacher without its control has no contrast.
                run.teacher_ids = None
        return GenerationRequest(
            run.prompt.ids,
            _seed(run.request.seed, run.request.group_id, run.request.member, len(run.history)),
            run.episode.episode_id if self._context.grows else None,
            run.prompt.messages,
            None if self._limits.seconds is None else run.began + self._limits.seconds,
        )

    def _step(self, run: _Running, result: GenerationResult) -> bool:
        """Plays a response; returns whether the episode goes on."""
        error = result.error or self._limits.overtime(time.monotonic() - run.began)
        if error or result.finish_reason == "too_long":
            if error:
                run.episode.error = f"Task {shortened(run.request.task_id)}, turn {len(run.history) + 1}: {error}"
            full = "context_full" if self._context.grows and run.history else "prompt_too_long"
            self._finish(run, "error" if error else full)
            return False
        text = result.text
        if text is None:
            assert self._tokenizer is not None
            text = decode_response(self._tokenizer, result.token_ids, self._engine.stop_ids)
        parsed = self._context.parse(text)
        try:
            with self._time_limits:
                observation, reward, terminated, truncated, info = run.env.step(parsed.action)
            check_step(observation, reward, info)
        except Exception as error:
            self._fail(run.episode, run.env, error, f"turn {len(run.history) + 1}, action {shortened(parsed.action)}")
            return False
        assert run.prompt is not None
        turn = TurnRecord(
            observation=run.observation,
            response=text,
            action=parsed.action,
            valid_form=parsed.valid,
            valid_action=bool(info["action_valid"]),
            reward=float(reward),
            response_ids=result.token_ids,
            old_logp=result.logprobs,
            weight_version=result.weight_version,
            cached_tokens=result.cached_tokens,
            admissible_actions=tuple(run.info["admissible_actions"]),
            finish_reason=result.finish_reason,
            tagged=parsed.tagged,
            dropped_turns=run.prompt.dropped_turns,
            teacher_too_long=run.teacher_ids is None,
            feedback=_text(info.get("feedback")),
            prompt_tokens=result.prompt_tokens,
            counted_tokens=None if result.text is None else result.response_tokens,
        )
        if result.text is not None:
            run.episode.turns.append(turn)
        elif run.prompt.continues:
            run.episode.continue_turn(turn, run.prompt.ids)
        else:
            run.episode.context_forks += run.prompt.forks
            run.episode.add_turn(turn, run.prompt.ids, run.teacher_ids, run.control_ids if run.teacher_ids else None)
        if run.episode.sequences:
            self._drop_long_teacher(run.episode)
        run.history.append(PastTurn(run.observation, parsed.action, parsed.tagged))
        run.observation, run.info = observation, info
        if terminated or truncated:
            self._finish(run, "won" if info["won"] else "lost" if terminated else "truncated")
            return False
        run.episode.limit = self._limits.reached(run.episode)
        if run.episode.limit:
            self._finish(run, "truncated")
        return not run.episode.limit

    def _teacher_prompt(self, run: _Running, view: EpisodeView, shown: PrivilegedContext | None) -> list[int] | None:
        """The teacher's prompt with a text; empty without a teacher or a text, None if the prompt is too long."""
        if not self._teacher_prompts or shown is None:
            return []
        try:
            return self._context.next_prompt(run.episode, view, shown).ids
        except (PromptTooLongError, ContextFullError):
            return None

    def _drop_long_teacher(self, episode: Episode) -> None:
        """A conversation that is too long for the teacher has none, in all of its turns."""
        sequence, limit = episode.sequences[-1], self._context.limits.teacher_context
        longest = max(len(sequence.teacher_ids or ()), len(sequence.control_ids or ()))
        if limit is None or sequence.teacher_ids is None or longest <= limit:
            return
        sequence.teacher_ids = sequence.control_ids = None
        for span in sequence.spans:
            episode.turns[span.turn].teacher_too_long = True

    def _finish(self, run: _Running, ended: str) -> None:
        """Ends an episode; its environment is used again."""
        run.episode.ended = ended
        run.episode.won = bool(run.info["won"])
        run.episode.score = float(run.info["score"])
        run.episode.metrics = environment_metrics(run.info)
        self._idle.append(run.env)

    def _fail(self, episode: Episode, env: gymnasium.Env[str, str], error: Exception, where: str) -> None:
        """Ends an episode after an error of its environment, which is not used again."""
        episode.ended = "error"
        episode.error = f"Task {shortened(episode.task_id)}, {where}: {type(error).__name__}: {first_line(error)}"
        # Best effort: the environment may be in any state.
        with suppress(Exception), self._time_limits:
            env.close()


def _text(value: Any) -> str | None:
    """An optional text of an environment's `info`; None if it is anything else."""
    return well_formed(value) if isinstance(value, str) else None


def _seed(*parts: object) -> int:
    """A 64-bit seed from any values: equal values give equal draws in every process."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big")
