"""Local policy: the engine and the collector of a saved policy in this process."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sdar_gym.configs.schema import RunConfig
from sdar_gym.policy.context_length import context_length
from sdar_gym.policy.device import choose_device
from sdar_gym.policy.load import load_model_config, load_tokenizer
from sdar_gym.policy.sizing import default_evaluation_batch
from sdar_gym.rollout.build import build_collector
from sdar_gym.rollout.collector import Collector
from sdar_gym.rollout.engines.base import Engine
from sdar_gym.rollout.engines.registry import EngineSpec, build_engine
from sdar_gym.rollout.episode_limits import EpisodeLimits
from sdar_gym.skills import Retriever


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """A saved policy that plays in this process.

    Attributes:
        engine: Samples its responses.
        collector: Plays its episodes.
        batch: Episodes that it plays at once.
    """

    engine: Engine
    collector: Collector
    batch: int

    def close(self) -> None:
        """Closes environments and engine."""
        self.collector.close()
        self.engine.close()


def local_policy(run: RunConfig, model_name: str, retriever: Retriever, limits: EpisodeLimits | None) -> LocalPolicy:
    """Loads a saved policy.

    Args:
        run: Determines environment, prompt and sampling.
        model_name: The policy.
        retriever: Finds skills.
        limits: Limits of each episode.

    Raises:
        ValueError: A setting or the policy is invalid.
    """
    device = choose_device(run.policy.device)
    tokenizer = load_tokenizer(model_name)
    rollout = run.rollout.within(context_length(load_model_config(model_name)))
    # A saved policy has its adapters merged.
    policy = replace(run.policy, model=model_name, lora=None)
    engine = build_engine(EngineSpec(policy=policy, rollout=rollout, device=device, tokenizer=tokenizer))
    collector = build_collector(
        engine,
        tokenizer,
        run.env,
        run.env_config,
        rollout,
        retriever,
        teacher_prompts=False,
        skills_in_prompt=run.evaluation.with_skills,
        episode_limits=limits,
    )
    return LocalPolicy(engine, collector, run.evaluation.batch_size or default_evaluation_batch(device))
