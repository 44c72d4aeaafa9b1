"""Whether a model of the Hugging Face hub can be had: answered in seconds, where the libraries try for a minute."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from sdar_gym.paths import first_line
from sdar_gym.policy.errors import failed
from sdar_gym.policy.folder_formats import ADAPTERS

# Seconds that the hub has to answer.
HUB_TIMEOUT = 4.0


def require_from_hub(name: str, part: str) -> bool:
    """Find out, within seconds, whether a hub model can be had at all.

    Args:
        name: Folder or hub name, as in `PolicySource`.
        part: `model` or `tokenizer`, for the message.

    Returns:
        Whether the hub is to be left alone, and only its cache used.

    Raises:
        PolicyLoadError: It is not cached, and the hub does not answer.
    """
    if Path(name).is_dir():
        return True
    try:
        cached = any(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", ADAPTERS))
    except ValueError as error:  # No name that the hub could have.
        raise failed(name, part, f"{first_line(error).rstrip('.')}.") from error
    if hub_responds():
        return False
    if cached:
        return True
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} does not answer"
    reason = f"there is no such folder here, it is not in {constants.HF_HUB_CACHE}, and {why}."
    raise failed(name, part, reason)


@cache
def hub_responds() -> bool:
    """Whether the hub can be reached from here; asked once a process."""
    if constants.HF_HUB_OFFLINE:
        return False
    answered: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            # Not found or not allowed is an answer; a proxy that reaches nobody is none.
            if error.code < 500 and error.code != 407:
                answered.append(True)
        except (OSError, ValueError):
            return
        else:
            answered.append(True)

    # In a thread, since looking a host up knows no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    return bool(answered)
