"""Fixture for Lucene tests: they run in a spawned process, so that pytest's process has no JVM and may fork."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from sdar_gym.skills.index import MissingBackendError
from sdar_gym.skills.index.jvm import check_installed


@pytest.fixture(scope="module")
def java_process() -> Iterator[Callable[..., Any]]:
    """Calls a function of the test module in the process with the JVM, where warnings are errors too."""
    try:
        check_installed()
    except MissingBackendError as error:
        pytest.skip(str(error))
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=warnings.simplefilter, initargs=("error",)
    ) as pool:
        # A process started in the background inherits an ignored SIGINT; set before there is a JVM to take it over.
        pool.submit(signal.signal, signal.SIGINT, signal.default_int_handler).result(timeout=120)
        yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=120)
