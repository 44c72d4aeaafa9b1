"""What anyone who writes an environment needs to test it: `check_text_env`, and the fuzzer behind it."""

from sdar_gym.testing.action_fuzzer import ActionFuzzer
from sdar_gym.testing.assertions import EnvContractError
from sdar_gym.testing.check import CheckSettings, check_text_env
from sdar_gym.testing.episodes import FuzzReport, fingerprint, fuzz

__all__ = ["ActionFuzzer", "CheckSettings", "EnvContractError", "FuzzReport", "check_text_env", "fingerprint", "fuzz"]
