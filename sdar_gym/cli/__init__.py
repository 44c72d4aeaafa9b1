"""Command line: `sdar-gym train | eval | methods | skills | envs | play | new-env | baselines | data | doctor | …`."""

from sdar_gym.cli.app import main

__all__ = ["main"]
