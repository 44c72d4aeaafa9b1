"""Warm start: supervised fine-tuning on the episodes of environments' experts, before reinforcement learning."""
