"""Hugging Face hub access: fail within seconds if a model is neither cached nor downloadable."""

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

# Seconds to wait for a response of the hub; the libraries retry for a minute.
HUB_TIMEOUT = 4.0


def require_from_hub(name: str, part: str) -> bool:
    """Check within seconds that a hub model is available.

    Args:
        name: Folder or hub name, as in `PolicySource`.
        part: `model` or `tokenizer`, for the message.

    Returns:
        Whether to use local files only: a folder, or the hub's cache while the hub does not respond.

    Raises:
        PolicyLoadError: The model is not cached, and the hub does not respond.
    """
    if Path(name).is_dir():
        return True
    try:
        cached = any(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", ADAPTERS))
    except ValueError as error:  # Not a valid hub name.
        raise failed(name, part, f"{first_line(error).rstrip('.')}.") from error
    if hub_responds():
        return False
    if cached:
        return True
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} does not respond"
    reason = f"there is no such folder here, it is not in {constants.HF_HUB_CACHE}, and {why}."
    raise failed(name, part, reason)


@cache
def hub_responds() -> bool:
    """Whether the hub can be reached from here; cached per process."""
    if constants.HF_HUB_OFFLINE:
        return False
    responded: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            # Not found or forbidden is a response of the hub; 407 and 5xx may come from a proxy.
            if error.code < 500 and error.code != 407:
                responded.append(True)
        except (OSError, ValueError):
            return
        else:
            responded.append(True)

    # In a thread, since DNS lookups have no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    return bool(responded)
