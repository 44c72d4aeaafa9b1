"""The command line: `sdar-gym train | eval | envs | play | new-env | baselines | data | warmstart | doctor`."""

from sdar_gym.cli.app import main

__all__ = ["main"]
