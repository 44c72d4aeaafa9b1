"""A misbehaving web server as a fixture, and downloads without waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from misbehaving_server import Server, running  # pyright: ignore[reportMissingImports]

from sdar_gym.downloads.download import DownloadSettings


@pytest.fixture
def web() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def at_once() -> DownloadSettings:
    return DownloadSettings(attempts=3, back_off_s=0.0, longest_wait_s=0.0, timeout_s=5.0)
