"""Run mirrors: what a copy on a store of objects holds, what an interrupted one leaves, and resuming from it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from made_runs import add_checkpoint, made_config, made_run  # pyright: ignore[reportMissingImports]

from sdar_gym.cli.path_arguments import run_place
from sdar_gym.runs import mirror as mirrors
from sdar_gym.runs.checkpoint import verify_checkpoint
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.mirror import Mirror, MirrorError, check_mirror, fetch_run
from sdar_gym.runs.mirror_store import MirrorStore
from sdar_gym.runs.resume import resumed_run

pytest.importorskip("pyarrow")


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"file://{tmp_path}/store"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "previous_checkpoint" not in path.parts
    }


def go_on(folder: RunFolder, update: int) -> None:
    """Another update with its checkpoint."""
    folder.log({"update": update, "train": {"success": 0.5}})
    add_checkpoint(folder, made_config(folder.path.parent), update)


def test_a_mirror_gives_the_run_folder_back(run: RunFolder, store: str, tmp_path: Path) -> None:
    (run.path / "run.lock").write_text("{}")
    (run.path / "policy").mkdir()
    (run.path / "policy" / "config.json").write_text("{}")
    (run.path / "checkpoint.abc12345").mkdir()
    assert Mirror(store, run).sync()
    back = fetch_run(f"{store}/{run.path.name}", str(tmp_path / "elsewhere"))
    assert back == tmp_path / "elsewhere" / run.path.name
    kept = {name: content for name, content in files_of(run.path).items() if name != "run.lock"}
    assert files_of(back) == kept
    assert verify_checkpoint(back / "checkpoint").update == 2
    resumption, _ = resumed_run(back)
    assert resumption.manifest.update == 2
    # A folder that is there and not behind is used as it is.
    assert fetch_run(f"{store}/{run.path.name}", str(tmp_path / "elsewhere")) == back


def test_only_what_changed_is_copied_and_two_checkpoints_stay(
    run: RunFolder, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[str] = []
    original = MirrorStore.put

    def noted(place: Any, name: str, path: Path) -> None:
        put.append(name)
        original(place, name, path)

    monkeypatch.setattr(MirrorStore, "put", noted)
    mirror = Mirror(store, run)
    for update in (2, 3, 4):
        if update > 2:
            go_on(run, update)
        put.clear()
        assert mirror.sync()
    assert "metrics.jsonl" in put and "config.yaml" not in put
    assert {name.split("/")[0] for name in put} == {"metrics.jsonl", "checkpoint-000004"}
    assert sorted(path.name for path in (tmp_path / "store" / run.path.name).glob("checkpoint-*")) == [
        "checkpoint-000003",
        "checkpoint-000004",
    ]
    put.clear()
    assert mirror.sync() and not put
    (run.path / "summary.json").write_text("{}")
    assert mirror.sync(final=True) and put == ["summary.json"]


def test_the_best_checkpoint_is_copied_once_and_comes_back(
    run: RunFolder, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[str] = []
    original = MirrorStore.put
    monkeypatch.setattr(MirrorStore, "put", lambda place, name, path: (put.append(name), original(place, name, path)))
    mirror = Mirror(store, run)
    run.keep_best()
    for update in (3, 4, 5, 6):
        go_on(run, update)
        if update == 4:
            run.keep_best()
        assert mirror.sync()
    saved = sorted(path.name for path in (tmp_path / "store" / run.path.name).glob("checkpoint-*"))
    assert saved == ["checkpoint-000004", "checkpoint-000005", "checkpoint-000006"]
    copies = [name for name in put if name.endswith("manifest.json")]
    assert sorted(copies) == [f"checkpoint-00000{update}/manifest.json" for update in (2, 3, 4, 5, 6)]
    back = RunFolder(fetch_run(f"{store}/{run.path.name}", str(tmp_path / "elsewhere")))
    assert verify_checkpoint(back.checkpoint).update == 6
    assert verify_checkpoint(back.best_checkpoint).update == 4


@pytest.mark.parametrize("broken", ["checkpoint-000003/weights.safetensors", "metrics.jsonl", "mirror.json"])
def test_a_copy_that_is_interrupted_leaves_the_one_before(
    broken: str, run: RunFolder, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    mirror = Mirror(store, run)
    assert mirror.sync()
    go_on(run, 3)
    original = MirrorStore._write

    def write(place: Any, name: str, file: Any) -> None:
        if name == broken:
            raise OSError(28, "No space left on device")
        original(place, name, file)

    monkeypatch.setattr(MirrorStore, "_write", write)
    monkeypatch.setattr(mirrors, "_PAUSE_S", 0.0)
    assert not mirror.sync()
    assert "No space left on device" in capsys.readouterr().err
    back = fetch_run(f"{store}/{run.path.name}", str(tmp_path / "first"))
    assert verify_checkpoint(back / "checkpoint").update == 2
    assert resumed_run(back)[0].manifest.update == 2
    monkeypatch.setattr(MirrorStore, "_write", original)
    assert mirror.sync()
    assert verify_checkpoint(fetch_run(f"{store}/{run.path.name}", str(tmp_path / "second")) / "checkpoint").update == 3


def test_a_mirror_of_another_run_or_one_that_went_on_elsewhere_is_refused(
    run: RunFolder, store: str, tmp_path: Path
) -> None:
    assert Mirror(store, run).sync()
    other = made_run(tmp_path / "others")
    with pytest.raises(MirrorError, match="holds another run"):
        Mirror(store, other).sync()
    with pytest.raises(MirrorError, match="holds another run"):
        Mirror(store, other).check(None, 0)
    with pytest.raises(MirrorError, match="give another runs_dir"):
        fetch_run(f"{store}/{run.path.name}", str(tmp_path / "others"))
    back = RunFolder(fetch_run(f"{store}/{run.path.name}", str(tmp_path / "elsewhere")))
    go_on(back, 3)
    assert Mirror(store, back).sync()
    with pytest.raises(MirrorError, match=r"is at update 3, and .* at 2: the run was continued elsewhere"):
        Mirror(store, run).sync(final=True)
    with pytest.raises(MirrorError, match=r"at update 2 and .* at 3: move the folder away"):
        fetch_run(f"{store}/{run.path.name}", str(run.path.parent))


def test_a_mirror_that_is_none_or_damaged_is_one_message(run: RunFolder, store: str, tmp_path: Path) -> None:
    address = f"{store}/{run.path.name}"
    with pytest.raises(MirrorError, match=r"holds no run: it has no mirror\.json"):
        fetch_run(address, str(tmp_path / "x"))
    Mirror(store, run).sync()
    place = tmp_path / "store" / run.path.name
    (place / "panel.json").unlink()
    with pytest.raises(MirrorError, match=r"cannot be copied to .*panel\.json"):
        fetch_run(address, str(tmp_path / "x"))
    assert not (tmp_path / "x" / run.path.name).exists()
    record = json.loads((place / "mirror.json").read_text())
    for content, told in (
        ("{", "mirror.json is damaged"),
        (json.dumps({**record, "format": 9}), "format 9"),
        (json.dumps({**record, "files": {"../../x": 1}}), "it names '../../x'"),
    ):
        (place / "mirror.json").write_text(content)
        with pytest.raises(MirrorError, match=told):
            fetch_run(address, str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("ftp://host/x", "mirror=ftp://host/x cannot be opened: .* Give an address such as s3://bucket/runs"),
        ("file:///proc/none/x", "mirror=file:///proc/none/x cannot be written"),
        ("runs", "cannot be opened"),
    ],
)
def test_an_address_that_cannot_be_written_is_refused_before_the_run(address: str, told: str) -> None:
    with pytest.raises(MirrorError, match=told):
        check_mirror(address)


def test_the_password_of_an_address_is_not_kept(tmp_path: Path) -> None:
    run = made_run(tmp_path / "runs", "mirror=s3://key:secret@bucket/runs?endpoint_override=x")
    assert "secret" not in run.config.read_text() and run.secrets() == ["mirror"]
    with pytest.raises(ValueError, match="mirror had a password or a query"):
        resumed_run(run.path)


def test_the_command_line_takes_folders_and_addresses() -> None:
    assert run_place("s3://bucket/runs/x") == "s3://bucket/runs/x"
    assert run_place("file:///tmp/x") == Path("/tmp/x") and run_place("runs/x") == Path("runs/x")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A server that speaks S3's protocol, with a bucket."""
    if find_spec("moto") is None:
        pytest.skip('needs an S3 server: pip install "moto[server]"')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "moto.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    import httpx

    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                assert httpx.put(f"http://127.0.0.1:{port}/bucket", trust_env=False).status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, (tmp_path / "moto.log").read_text()
                time.sleep(0.2)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        server.terminate()
        server.wait(10)
        log.close()


@pytest.mark.slow
def test_a_run_comes_back_from_s3(run: RunFolder, s3: str, tmp_path: Path) -> None:
    check_mirror(f"s3://bucket/runs{s3}")
    mirror = Mirror(f"s3://bucket/runs{s3}", run)
    for update in (2, 3, 4):
        if update > 2:
            go_on(run, update)
        assert mirror.sync()
    shutil.rmtree(run.path / "previous_checkpoint")
    back = fetch_run(f"s3://bucket/runs/{run.path.name}{s3}", str(tmp_path / "elsewhere"))
    assert files_of(back) == files_of(run.path)
    assert len(mirror.place.checkpoints()) == 2
    with pytest.raises(MirrorError, match="holds no run"):
        fetch_run(f"s3://bucket/runs/other{s3}", str(tmp_path / "elsewhere"))
    with pytest.raises(MirrorError, match="cannot be written"):
        check_mirror(f"s3://no-such-bucket/runs{s3}")
