"""Rollouts: groups of episodes of one task, played by an engine, kept as tokens."""
