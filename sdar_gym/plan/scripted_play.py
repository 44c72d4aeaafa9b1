"""Scripted play: the run's own collector, with an engine that answers for a scripted policy, to count real tokens.

Prompts, chat template, skills and tokenizer are those of the run; no weights are loaded. A response is the policy's
action in the required form. Where responses reason first, a thought of an assumed length stands before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from sdar_gym.algorithms.methods import get_method
from sdar_gym.configs.schema import RunConfig
from sdar_gym.envs.policies import RandomPolicy, ScriptedPolicy, expert_of
from sdar_gym.envs.prompting import PromptTemplate, prompt_template
from sdar_gym.envs.text_env import TextEnv
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.load import load_generation_config, load_model_config, load_tokenizer, stop_token_ids
from sdar_gym.rollout.build import build_context, build_retriever
from sdar_gym.rollout.collector import Collector, EpisodeRequest
from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams
from sdar_gym.rollout.environments import make_env
from sdar_gym.rollout.privileged_context import privileged_context_writer
from sdar_gym.rollout.sampler import TaskSampler
from sdar_gym.rollout.trajectory import Episode
from sdar_gym.skills.lookup import skill_env_name
from sdar_gym.text import shortened

if TYPE_CHECKING:
    import torch

POLICIES = ("random", "expert")


class ScriptedEngine(Engine):
    """Answers with a scripted policy's next action; for one episode at a time.

    Args:
        tokenizer: Encodes the responses.
        template: Writes them.
        stop_ids: Tokens that end a response; the first one does.
        think: Whether responses reason first.
        response_tokens: Length of a response that reasons first; a longer action is not cut.
    """

    def __init__(
        self, tokenizer: Any, template: PromptTemplate, stop_ids: Sequence[int], *, think: bool, response_tokens: int
    ):
        respond = getattr(template, "respond", None)
        if respond is None:
            raise ValueError("A plan needs a prompt template that can write responses: respond(action, think=...).")
        self._respond = respond
        self._tokenizer = tokenizer
        self.stop_ids = stop_ids
        self._think = think
        self._response_tokens = response_tokens
        self.action = ""

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[GenerationResult]:
        """The response with the next action."""
        ids = self.response_ids(self.action)[: params.max_tokens]
        return [GenerationResult(list(ids), [0.0] * len(ids), "stop", 0) for _ in requests]

    def response_ids(self, action: str) -> list[int]:
        """The tokens of a response, its end included."""
        text = self._respond(action, think=self._think)
        if not self._think:
            return [*self._encoded(text), *self.stop_ids[:1]]
        thought, tag, rest = text.partition("</think>")
        head, tail = self._encoded(thought), [*self._encoded(tag + rest), *self.stop_ids[:1]]
        filler = self._encoded(" and")
        missing = max(0, self._response_tokens - len(head) - len(tail))
        return [*head, *(filler * missing)[:missing], *tail]

    def update_weights(self, state_dict: Mapping[str, torch.Tensor], version: int) -> None:
        """There are none."""

    def info(self) -> dict[str, Any]:
        """See `Engine.info`."""
        return {"backend": "scripted", "version": "0", "dtype": "none", "max_len": None}

    def _encoded(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


class _Told:
    """An environment that tells the engine the policy's next action after each reset and step."""

    def __init__(self, env: TextEnv, policy: ScriptedPolicy, engine: ScriptedEngine):
        self._env = env
        self._policy = policy
        self._engine = engine

    def reset(self, **arguments: Any) -> tuple[str, dict[str, Any]]:
        observation, info = self._env.reset(**arguments)
        self._policy.begin(self._env, observation, info)
        self._engine.action = self._policy.act(observation, info)
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._env.step(action)
        if not (terminated or truncated):
            self._engine.action = self._policy.act(observation, info)
        return observation, float(reward), terminated, truncated, info

    def close(self) -> None:
        self._env.close()


def scripted_policy(env_id: str, name: str, seed: int = 0) -> ScriptedPolicy | None:
    """The random policy or the environment's expert; None if it has no expert."""
    return RandomPolicy(seed) if name == "random" else expert_of(env_id)


def planned_tasks(run: RunConfig, count: int) -> list[str]:
    """The tasks of the run's first updates."""
    env = make_env(run.env, run.env_config)
    try:
        return TaskSampler(env.task_ids(), run.seed).take(0, count)
    finally:
        env.close()


def play_scripted(
    run: RunConfig, policy: ScriptedPolicy, tasks: Sequence[str], *, response_tokens: int, members: int = 1
) -> list[Episode]:
    """Plays tasks with a scripted policy and returns the episodes with the tokens that a run would train on.

    Args:
        run: Environment, prompts, skills and method; of the model, tokenizer and configuration are loaded.
        policy: Chooses the actions.
        tasks: One group each.
        response_tokens: Length of a response that reasons first.
        members: Episodes of a group.

    Raises:
        ValueError: The template cannot write responses, a task raised an error, or its first prompt is too long.
    """
    tokenizer = load_tokenizer(run.policy.model)
    config = load_model_config(run.policy.model)
    rollout = run.rollout.within(context_length(config))
    template = prompt_template(run.env, rollout.prompt)
    stop_ids = stop_token_ids(load_generation_config(run.policy.model, config), tokenizer, rollout.chat_template_kwargs)
    engine = ScriptedEngine(tokenizer, template, stop_ids, think=rollout.think, response_tokens=response_tokens)
    objective = run.objective
    collector = Collector(
        engine,
        tokenizer,
        lambda: _Told(make_env(run.env, run.env_config), policy, engine),  # pyright: ignore[reportArgumentType]
        build_context(tokenizer, run.env, run.env_config, rollout),
        build_retriever(run.env, run.skills),
        skill_env_name(run.env),
        teacher_prompts=objective.teacher is not None,
        skills_in_prompt=get_method(run.method).acts_with_skills,
    )
    episodes: list[Episode] = []
    try:
        for number, member in product(range(len(tasks)), range(members)):
            # One at a time: the engine knows one environment.
            task_id = tasks[number]
            request = EpisodeRequest(task_id, number, member, run.seed)
            episodes += collector.collect([request], SamplingParams(rollout.max_response_tokens))
            if episodes[-1].error:
                raise ValueError(f"{run.env} cannot be planned. {episodes[-1].error}")
            if not episodes[-1].turns:
                raise ValueError(
                    f"{run.env} cannot be planned: the first prompt of task {shortened(task_id)} is longer than "
                    f"rollout.max_prompt_tokens={rollout.max_prompt_tokens}. Raise it, or take a model with a longer "
                    "context."
                )
    finally:
        collector.close()
    writer = privileged_context_writer(objective.teacher, tokenizer, run.env, run.env_config, rollout)
    if writer is not None:
        writer.write(episodes)
    return episodes
