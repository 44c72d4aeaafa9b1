"""Tests for environments: the contract check `check_text_env`, and the action fuzzer behind it."""

from sdar_gym.testing.action_fuzzer import ActionFuzzer
from sdar_gym.testing.assertions import EnvContractError
from sdar_gym.testing.check import check_text_env
from sdar_gym.testing.episodes import FuzzReport, fingerprint, fuzz
from sdar_gym.testing.settings import CheckSettings

__all__ = ["ActionFuzzer", "CheckSettings", "EnvContractError", "FuzzReport", "check_text_env", "fingerprint", "fuzz"]
