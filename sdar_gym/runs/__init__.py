"""Runs: training from a configuration into a run folder that says everything about itself."""
