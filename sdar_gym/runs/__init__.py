"""Runs: training from a configuration into a run folder, and resuming."""
