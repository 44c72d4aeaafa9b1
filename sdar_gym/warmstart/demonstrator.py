"""Demonstrator: plays scripted episodes through the collector, so that they have the tokens of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdar_gym.algorithms.methods import get_method
from sdar_gym.configs.schema import RunConfig
from sdar_gym.configs.sections import SkillSettings
from sdar_gym.envs.policies import ScriptedPolicy, expert_of
from sdar_gym.envs.prompting import prompt_template, skill_context
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.policy.chat import ChatFormat
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.load import load_generation_config, load_model_config, stop_token_ids
from sdar_gym.rollout.build import build_context, build_retriever
from sdar_gym.rollout.collector import Collector, EpisodeRequest
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.rollout.expert_play import ExpertTurn, scripted_turns
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills.lookup import skill_env_name
from sdar_gym.skills.strategies.controls import NoRetriever
from sdar_gym.text import shortened
from sdar_gym.warmstart.skill_reader import SkillReader

if TYPE_CHECKING:
    import torch


class DemonstrationError(ValueError):
    """Demonstrations that cannot be made, or that a rollout could not have."""


class PreparedEngine(Engine):
    """Gives prepared responses, one a request, instead of sampling; their log-probabilities are not known.

    Args:
        stop_ids: Tokens that end a response.

    Attributes:
        responses: Token ids of the responses to come.
    """

    def __init__(self, stop_ids: Sequence[int]):
        self.stop_ids = stop_ids
        self.responses: list[list[int]] = []

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        """See `Engine`."""
        ready = [self.responses.pop(0) for _ in requests]
        return [GenerationResult(ids, [0.0] * len(ids), "stop", weight_version=0) for ids in ready]

    def update_weights(self, state_dict: Mapping[str, torch.Tensor], version: int) -> None:
        """Nothing to do: it has no weights."""

    def info(self) -> dict[str, Any]:
        """See `Engine`."""
        return {"backend": "prepared", "version": "1", "dtype": "none", "max_len": None}


class Demonstrator:
    """Plays the episodes of an expert, or of a skill reader, as the policy would have sampled them.

    The scripted policy plays a task once to choose its actions. The collector of training and evaluation then plays the
    task with an engine that gives the responses with these actions. Prompts hold skills if the method's policy reads
    them, or those that the skill reader reads.

    Args:
        run: The configuration.
        tokenizer: The policy's.
        env: Plays the tasks.

    Raises:
        DemonstrationError: The environment has no expert, or the prompt template cannot write responses.
    """

    def __init__(self, run: RunConfig, tokenizer: Any, env: TextEnv):
        self._policy, self._respond = demonstrating_parts(run)
        self._tokenizer, self._env, self._seed = tokenizer, env, run.seed
        config = load_model_config(run.policy.model)
        self._rollout = rollout = run.rollout.within(context_length(config))
        chat = ChatFormat(tokenizer, rollout.chat_template_kwargs, rollout.date)
        self._start = chat.response_start
        self._end = int(tokenizer.eos_token_id if chat.turn_end is None else chat.turn_end)
        generation = load_generation_config(run.policy.model, config)
        self._engine = PreparedEngine(stop_token_ids(generation, tokenizer, rollout.chat_template_kwargs))
        self._context = build_context(tokenizer, run.env, run.env_config, rollout)
        self._reads_skills = get_method(run.method).acts_with_skills
        settings = run.skills if self._reads_skills else SkillSettings(strategy=NoRetriever.name)
        self._retriever, self._env_name = build_retriever(run.env, settings), skill_env_name(run.env)

    def episode(self, task_id: str) -> Episode | None:
        """The scripted episode in a task.

        Args:
            task_id: The task.

        Returns:
            The episode, or None if the expert does not solve the task. It `ended` as `won`, for a skill reader as
            `truncated` too, or with the turns before the first prompt that is too long, as a rollout does.

        Raises:
            DemonstrationError: A response is too long, the parser does not read the action from it, or the environment
                does not repeat the task.
        """
        request = EpisodeRequest(task_id, group_id=0, member=0, seed=self._seed)
        turns, won = scripted_turns(self._env, self._policy, task_id, seed=request.reset_seed)
        reader = self._policy if isinstance(self._policy, SkillReader) else None
        if not turns or not (won or reader):
            return None
        if reader is not None:
            request = replace(request, privileged=skill_context(reader.skill))
        self._engine.responses = [self._response_ids(turn.action) for turn in turns]
        collector = Collector(
            self._engine,
            self._tokenizer,
            lambda: self._env,
            self._context,
            self._retriever,
            self._env_name,
            teacher_prompts=False,
            skills_in_prompt=self._reads_skills and reader is None,
            episode_limits=EpisodeLimits(turns=len(turns)),
        )
        (episode,) = collector.collect([request], SamplingParams(self._rollout.max_response_tokens))
        self._refuse_other_play(episode, turns, won)
        return episode

    def _response_ids(self, action: str) -> list[int]:
        """The response with this action and its end token."""
        text = self._respond(action, think=self._rollout.think)
        if self._start:
            # The template opened <think>: the thought continues it, or it is closed at once.
            opening = self._start.strip()
            text = text.removeprefix(opening).lstrip("\n") if text.startswith(opening) else f"</think>\n\n{text}"
        ids = [*self._tokenizer.encode(text, add_special_tokens=False), self._end]
        parsed = self._context.parse(text)
        if not parsed.valid or parsed.action != action or not {*self._engine.stop_ids}.isdisjoint(ids[:-1]):
            raise DemonstrationError(
                f"The prompt template cannot express the expert's action {shortened(action)}: from "
                f"{shortened(text)} it reads {shortened(parsed.action)}. Correct `respond` or `parse` of the "
                f"template {self._rollout.prompt!r}."
            )
        limit = self._rollout.max_response_tokens
        if len(ids) > limit:
            raise DemonstrationError(
                f"The expert's response {shortened(text)} has {len(ids)} tokens, and "
                f"rollout.max_response_tokens={limit} would cut it off. Raise it."
            )
        return ids

    def _refuse_other_play(self, episode: Episode, turns: list[ExpertTurn], won: bool) -> None:
        if episode.error:
            raise DemonstrationError(f"{episode.error}. The script played the same actions without an error.")
        told = f"Task {shortened(episode.task_id)} is not the same twice: after the same actions and the same seed, "
        remedy = "Make the environment depend on task and seed alone."
        for number, (played, turn) in enumerate(zip(episode.turns, turns, strict=False), start=1):
            if (played.observation, played.action) != (turn.view.observation, turn.action):
                raise DemonstrationError(
                    f"{told}turn {number} observes {shortened(played.observation)} instead of "
                    f"{shortened(turn.view.observation)}. {remedy}"
                )
        to_its_end = episode.ended in ("won", "lost", "truncated")
        if to_its_end and (episode.won != won or len(episode.turns) != len(turns)):
            raise DemonstrationError(
                f"{told}it ended as {episode.ended!r} with turn {len(episode.turns)} instead of being "
                f"{'won' if won else 'left'} with turn {len(turns)}. {remedy}"
            )


def demonstrating_parts(run: RunConfig) -> tuple[ScriptedPolicy, Callable[..., str]]:
    """The scripted policy that a warm start trains on, and what writes its responses.

    Args:
        run: The configuration.

    Raises:
        DemonstrationError: The environment has no such policy, or the prompt template has no `respond`.
    """
    env_id, prompt = run.env, run.rollout.prompt
    policy: ScriptedPolicy | None
    if run.warmstart.play == "skill_reader":
        if env_id != "sdar/ALFWorld-v0":
            raise DemonstrationError(
                f"warmstart.play=skill_reader is there for sdar/ALFWorld-v0 only, not for {env_id}. Use "
                "warmstart.play=expert."
            )
        policy = SkillReader(seed=run.seed)
    else:
        policy = expert_of(env_id)
    if policy is None:
        raise DemonstrationError(
            f"{env_id} has no expert, whose episodes a warm start trains on. Register it with expert='module:Class'."
        )
    respond = getattr(prompt_template(env_id, prompt), "respond", None)
    if respond is None:
        raise DemonstrationError(
            f"The prompt template {prompt!r} of {env_id} cannot write responses: it has no method "
            "respond(action, think=...). Add it, or choose another rollout.prompt."
        )
    return policy, respond
