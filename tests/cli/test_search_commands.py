"""`sdar-gym index` and `sdar-gym serve-search`: output, refusals, files."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sdar_gym import extras
from sdar_gym.cli import main
from sdar_gym.cli.listening import listen
from sdar_gym.skills.index.passages import open_passages

COMMAND = [sys.executable, "-m", "sdar_gym"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": f"p{row}", "contents": f"word{row} common"}) + "\n" for row in range(30)))
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sdar-gym", *arguments])
    monkeypatch.setenv("COLUMNS", "300")
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def test_a_corpus_is_indexed_and_the_result_is_said(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = corpus.parent / "index"
    assert run(monkeypatch, "index", str(corpus), "--output", str(output), "--backend", "bm25s", "--k1", "1.5") == 0
    said = capsys.readouterr().out
    assert "30 passages of corpus.jsonl" in said and "bm25s, k1 1.5, b 0.4" in said
    assert [found.id for found in open_passages(output).search("word7", 3)] == ["p7"]
    assert run(monkeypatch, "index", str(corpus), "--output", str(output), "--backend", "bm25s") == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "none.jsonl", "--output", "x"), "no passage corpus at none.jsonl"),
        (("index", "CORPUS", "--output", "x", "--backend", "bm52s"), "Did you mean 'bm25s'?"),
        (("index", "CORPUS", "--output", "x", "--backend", "bm25s", "--b", "3"), "b must lie between 0 and 1"),
        (("serve-search", "none", "--port", "0"), "none is no index folder"),
        (("serve-search", "none", "--port", "99999"), "99999"),
        (("serve-search", "none", "--topk", "0"), "topk must be from 1"),
    ],
)
def test_mistakes_are_one_message(
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(corpus.parent)
    assert run(monkeypatch, *(str(corpus) if part == "CORPUS" else part for part in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_taken_port_is_named(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(monkeypatch, "serve-search", str(corpus), "--port", str(port)) == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_without_the_extra_the_server_says_what_to_install(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "missing_modules", lambda extra: ["fastapi"])
    assert run(monkeypatch, "serve-search", str(corpus)) == 2
    assert 'pip install "sdar-gym[search]"' in capsys.readouterr().err


@contextmanager
def server(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [*COMMAND, "serve-search", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "300", "PYTHONUNBUFFERED": "1"},
        # A process started in the background inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert address is not None, said + process.stdout.read()
        yield address[0], process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def asked(address: str) -> dict[str, list[list[dict[str, str]]]]:
    for attempt in range(100):
        try:
            return httpx.post(f"{address}/retrieve", json={"query": "word7"}, timeout=20, trust_env=False).json()
        except httpx.ConnectError:
            if attempt == 99:
                raise
            time.sleep(0.1)
    raise AssertionError


@pytest.mark.parametrize("backend", ["bm25s", pytest.param("lucene", marks=pytest.mark.lucene)])
def test_the_server_answers_and_ends_with_ctrl_c(corpus: Path, backend: str) -> None:
    output = corpus.parent / "index"
    index = [*COMMAND, "index", str(corpus), "--output", str(output), "--backend", backend]
    done = subprocess.run(index, capture_output=True, text=True, timeout=120, check=False)
    if "backend lacks" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    with server(str(output)) as (address, process):
        assert asked(address)["result"][0][0]["id"] == "p7"
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        assert "Traceback" not in said
        assert process.returncode == 130


def test_answers_are_sent_without_waiting_for_the_other_side() -> None:
    async def accepted() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        listener.listen()
        async with await asyncio.start_server(look, sock=listener):
            with socket.create_connection(listener.getsockname()):
                return await asyncio.wait_for(seen, 20)

    assert asyncio.run(accepted())


def test_a_host_that_is_none_is_said() -> None:
    for host in ("no host", "a" * 300, "\udcff", "256.1.1.1"):
        with pytest.raises(ValueError, match="is not an address to listen on"):
            listen(host, 0)


def test_the_command_serves_what_it_indexed_without_indexing_it_again(corpus: Path) -> None:
    output = corpus.parent / "index"
    index = [*COMMAND, "index", str(corpus), "--output", str(output), "--backend", "bm25s"]
    subprocess.run(index, capture_output=True, timeout=120, check=True)
    # The texts are mapped as well; without this file nothing could be indexed.
    assert (output / "bm25s" / "arrays.json").is_file()
    with server(str(output)) as (address, _):
        assert asked(address)["result"][0][0]["id"] == "p7"
        answer = httpx.post(
            f"{address}/retrieve", json={"query": "word7"}, headers={"Origin": "http://a.b"}, trust_env=False
        )
        assert answer.status_code == 403
        body = {"queries": ["word7"] * 500, "topk": 1000}
        assert httpx.post(f"{address}/retrieve", json=body, timeout=20, trust_env=False).status_code == 422
