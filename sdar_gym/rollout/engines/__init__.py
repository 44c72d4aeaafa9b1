"""Inference engines: token ids of prompts in, sampled token ids and their log-probabilities out."""

from sdar_gym.rollout.engines.base import Engine, GenerationRequest, GenerationResult, SamplingParams

__all__ = ["Engine", "GenerationRequest", "GenerationResult", "SamplingParams"]
