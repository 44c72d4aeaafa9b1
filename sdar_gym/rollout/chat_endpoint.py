"""Chat endpoint: address of a server with the OpenAI API, name of the model there, and the key, which stays secret."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from sdar_gym.paths import is_uri, without_password
from sdar_gym.text import shortened

KEY_VARIABLE = "OPENAI_API_KEY"


class EndpointError(ValueError):
    """A server that cannot be reached, refuses the key, or does not know the model."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model on a server with the OpenAI API.

    Attributes:
        url: Address of the API, `http://host:port/v1`; `/v1` is added if the address has no path.
        model: The model's name on the server.
        key: The API key; empty for none. Never shown.
        max_connections: Most requests at once.
        template_variables: Passed to the chat template by servers that can do that (vLLM, SGLang).

    Raises:
        EndpointError: The address is none, or holds a password.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    max_connections: int = 16
    template_variables: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _api_address(self.url))
        if not self.model.strip():
            raise EndpointError("--endpoint needs the model's name on the server: --model NAME.")
        if self.max_connections < 1:
            raise EndpointError(f"--max-connections must be at least 1, got {self.max_connections}.")


def key_from_environment(variable: str | None) -> str:
    """The API key, from an environment variable.

    Args:
        variable: Its name; None for `OPENAI_API_KEY`, which may be missing, since local servers need none.

    Raises:
        EndpointError: The named variable is not set, or its value cannot be a key.
    """
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable is not None and not key:
        raise EndpointError(f"--key-env: the environment variable {shortened(variable)} is not set or empty.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EndpointError(
            f"The value of {variable or KEY_VARIABLE} is no API key: it has spaces or other characters."
        )
    return key


def _api_address(url: str) -> str:
    """The address of the API, without a slash at the end.

    Raises:
        EndpointError: It is no http address, or holds a password or a query.
    """
    shown = shortened(without_password(url))
    if not is_uri(url) or not url.lower().startswith(("http://", "https://")):
        raise EndpointError(f"--endpoint={shown} is no address of a server; write http://host:port/v1.")
    try:
        address = httpx.URL(url.strip())
    except (httpx.InvalidURL, UnicodeError):  # The error's text may quote a password.
        raise EndpointError(f"--endpoint={shown} is no valid address; write http://host:port/v1.") from None
    if address.userinfo or address.query or address.fragment:
        raise EndpointError(
            f"--endpoint={shown} must be an address alone, without password and query: a key belongs into the "
            f"environment variable {KEY_VARIABLE}, or the one that --key-env names."
        )
    if not address.host:
        raise EndpointError(f"--endpoint={shown} names no host; write http://host:port/v1.")
    path = address.path.rstrip("/").removesuffix("/chat/completions")
    return str(address.copy_with(path=path or "/v1")).rstrip("/")
