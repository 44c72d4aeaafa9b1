"""Inference engines: token ids of prompts in, sampled token ids and their log-probabilities out."""

from sdar_gym.rollout.engines.base import Continuation, Engine, GenerationRequest, GenerationResult, SamplingParams

__all__ = ["Continuation", "Engine", "GenerationRequest", "GenerationResult", "SamplingParams"]
