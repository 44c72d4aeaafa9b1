"""Command line: `sdar-gym train | eval | methods | skills | envs | play | baselines | data | index | doctor | …`."""

from sdar_gym.cli.app import main

__all__ = ["main"]
