"""Engines: what turns prompts into sampled tokens. Tokens in, tokens and log-probabilities out."""

from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams

__all__ = ["Engine", "GenerationRequest", "GenerationResult", "SamplingParams"]
