"""Run mirror: a copy of the run folder on object storage (`s3://…`, `gs://…`), renewed after each checkpoint.

The run works on a local disk, so that nothing waits for the network but the copying. A mirror holds the files of the
run folder, `checkpoint-NNNNNN/` and `mirror.json`. That file is written last and names what belongs together; so a copy
that was interrupted leaves the one before.
"""

from __future__ import annotations

import json
import posixpath
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_gym.files import UNFINISHED, flush_tree, fresh_sibling
from sdar_gym.paths import first_line, is_uri, local_path, without_password
from sdar_gym.runs.checkpoint import CheckpointError, read_manifest
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.lock import LOCK

RECORD = "mirror.json"
_FORMAT = 1
# Stores in which folders are only parts of names, and a file is there at once when it is closed.
_OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
_ATTEMPTS = 3
_PAUSE_S = 2.0
_CHUNK = 1 << 24
# The newest checkpoint and the one before.
_KEPT = 2


class MirrorError(ValueError):
    """A mirror that cannot be used, or that another run or process writes."""


@dataclass(frozen=True, slots=True)
class _Copied:
    """A complete copy, as `mirror.json` records it.

    Attributes:
        run: The run's id.
        update: Of the checkpoint.
        files: Size in bytes by name; without the checkpoint's files.
        checkpoint: The same of the checkpoint's files.
    """

    run: str
    update: int
    files: dict[str, int]
    checkpoint: dict[str, int]

    @property
    def checkpoint_name(self) -> str:
        return f"checkpoint-{self.update:06d}"


class _Place:
    """A folder of a file system.

    Args:
        address: Its address.

    Raises:
        MirrorError: There is no such file system here.
    """

    def __init__(self, address: str):
        self.shown = without_password(address)
        try:
            from pyarrow.fs import FileSystem

            self._system, path = FileSystem.from_uri(address)
        except ImportError as error:
            raise MirrorError(f'mirror={self.shown} needs pyarrow: pip install "sdar-gym[train]".') from error
        except (OSError, ValueError) as error:
            raise MirrorError(
                f"mirror={self.shown} cannot be opened: {first_line(error)}. Give an address such as "
                "s3://bucket/runs or gs://bucket/runs."
            ) from error
        self._path = path.rstrip("/")
        self._is_object_store = self._system.type_name in _OBJECT_STORES

    def put(self, name: str, source: Path) -> None:
        """Copies a local file."""
        with source.open("rb") as file:
            self._write(name, file)

    def put_text(self, name: str, text: str) -> None:
        """Writes a small file."""
        import io

        self._write(name, io.BytesIO(text.encode()))

    def _write(self, name: str, file: Any) -> None:
        target = self._at(name)
        # What is under a final name must be whole.
        written = target if self._is_object_store else f"{target}.part"
        if not self._is_object_store:
            self._system.create_dir(posixpath.dirname(target), recursive=True)
        with self._system.open_output_stream(written) as stream:
            shutil.copyfileobj(file, stream, _CHUNK)
        if written != target:
            self._system.move(written, target)

    def get(self, name: str, target: Path) -> None:
        """Copies a file to a local path."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._system.open_input_stream(self._at(name)) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, _CHUNK)

    def record(self) -> _Copied | None:
        """The complete copy; None if there is none.

        Raises:
            MirrorError: `mirror.json` is damaged or of a newer version.
        """
        try:
            with self._system.open_input_stream(self._at(RECORD)) as stream:
                text = stream.read().decode()
        except FileNotFoundError:
            return None
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"it has format {content['format']}, and this version reads {_FORMAT}")
            sizes = [{str(name): int(size) for name, size in content[key].items()} for key in ("files", "checkpoint")]
            return _Copied(str(content["run"]), int(content["update"]), *sizes)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MirrorError(f"{self.shown}/{RECORD} is damaged: {first_line(error)}.") from error

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints, the oldest first."""
        from pyarrow.fs import FileSelector, FileType

        found = self._system.get_file_info(FileSelector(self._path, allow_not_found=True))
        names = [info.base_name for info in found if info.type == FileType.Directory]
        return sorted(name for name in names if name.startswith("checkpoint-"))

    def remove_folder(self, name: str) -> None:
        """Removes a folder with its files."""
        self._system.delete_dir(self._at(name))

    def remove(self, name: str) -> None:
        """Removes a file."""
        self._system.delete_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


class Mirror:
    """The mirror of one run folder, `ADDRESS/<name of the folder>`.

    Args:
        address: The setting `mirror`.
        folder: The run folder.

    Raises:
        MirrorError: The address cannot be used.
    """

    def __init__(self, address: str, folder: RunFolder):
        self.place = _Place(_below(address, folder.path.name))
        self._folder = folder
        # Sizes and times of what was copied by this process.
        self._seen: dict[str, tuple[int, int]] = {}
        self._update = -1

    def check(self, run: str | None, update: int) -> None:
        """Refuses a mirror that holds something else than this run, up to an update.

        Args:
            run: The run's id; None for a new one.
            update: Update of the newest checkpoint here.

        Raises:
            MirrorError: It is another run's, or another process has continued this run.
        """
        try:
            found = self.place.record()
        except OSError as error:
            raise MirrorError(f"{self.place.shown} cannot be read: {first_line(error)}.") from error
        if found is not None and found.run != run:
            raise MirrorError(
                f"{self.place.shown} holds another run, {found.run}: choose another name, or continue that one: "
                f"--resume {self.place.shown}"
            )
        if found is not None and found.update > update:
            raise MirrorError(
                f"{self.place.shown} is at update {found.update}, and {self._folder.path} at {update}: the run was "
                f"continued elsewhere. Go on from there: --resume {self.place.shown} runs_dir=FOLDER."
            )

    def sync(self, *, final: bool = False) -> bool:
        """Copies the newest checkpoint, and all other files that have changed.

        A mirror that cannot be reached does not end the run: it is said, and tried again after the next checkpoint.

        Args:
            final: Also copy where no checkpoint is newer than that of the mirror.

        Returns:
            Whether the mirror is up to date.

        Raises:
            MirrorError: Another process has continued this run.
        """
        try:
            manifest = read_manifest(self._folder.newest_checkpoint)
        except CheckpointError:  # None yet.
            return False
        if manifest.update == self._update and not final:
            return True
        for attempt in range(_ATTEMPTS):
            try:
                self.check(manifest.run, manifest.update)
                self._copy(manifest.run, manifest.update)
                return True
            except OSError as error:
                if attempt + 1 < _ATTEMPTS:
                    time.sleep(_PAUSE_S * 2**attempt)
                    continue
                print(
                    f"{self.place.shown}: the copy failed ({first_line(error)}). {self._folder.path} is complete; "
                    + ("copy it by hand." if final else "the next checkpoint is copied again."),
                    file=sys.stderr,
                )
        return False

    def _copy(self, run: str, update: int) -> None:
        root, copied = self._folder.path, _Copied(run, update, {}, {})
        for path in sorted(self._folder.newest_checkpoint.iterdir()):
            if update != self._update:
                self.place.put(f"{copied.checkpoint_name}/{path.name}", path)
            copied.checkpoint[path.name] = path.stat().st_size
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if not path.is_file() or _stays(name):
                continue
            facts = path.stat()
            seen = (facts.st_size, facts.st_mtime_ns)
            if self._seen.get(name) != seen:
                self.place.put(name, path)
                self._seen[name] = seen
            copied.files[name] = facts.st_size
        content = {"format": _FORMAT, "run": run, "update": update, "files": copied.files}
        self.place.put_text(RECORD, json.dumps(content | {"checkpoint": copied.checkpoint}, indent=1) + "\n")
        self._update = update
        for name in self.place.checkpoints()[:-_KEPT]:
            self.place.remove_folder(name)


def _below(address: str, name: str) -> str:
    """The address of a name below an address, which may have a query."""
    path, mark, query = address.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _stays(name: str) -> bool:
    """Whether a file of a run folder is not copied with the others: locks, checkpoints, unfinished files."""
    first = name.partition("/")[0]
    return first == LOCK or "checkpoint" in first or UNFINISHED.search(first) is not None


def check_mirror(address: str) -> None:
    """Checks that a mirror can be written, before a run starts.

    Raises:
        MirrorError: It cannot, with the reason.
    """
    place = _Place(address)
    try:
        place.put_text(".sdar-gym-check", "")
        place.remove(".sdar-gym-check")
    except OSError as error:
        raise MirrorError(f"mirror={place.shown} cannot be written: {first_line(error)}.") from error


def fetch_run(address: str, runs_dir: str) -> Path:
    """Copies a run from its mirror to a local folder, to resume it there.

    Args:
        address: Of the run: the mirror's address and the name of the run folder.
        runs_dir: Local folder of the run folders.

    Returns:
        The run folder. One that is there already is used, if it is the same run and not behind.

    Raises:
        MirrorError: There is no complete copy, a file is missing, or the run folder exists and is another's.
    """
    place = _Place(address)
    target = local_path("runs_dir", runs_dir) / posixpath.basename(address.rstrip("/").partition("?")[0])
    try:
        copied = place.record()
        if copied is None:
            raise MirrorError(f"{place.shown} holds no run: it has no {RECORD}.")
        if target.exists():
            _refuse_other(target, copied, place.shown)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with fresh_sibling(target) as fresh:
            wanted = {name: (name, size) for name, size in copied.files.items()}
            wanted |= {
                f"{copied.checkpoint_name}/{name}": (f"checkpoint/{name}", size)
                for name, size in copied.checkpoint.items()
            }
            for source, (name, size) in wanted.items():
                path = (fresh / name).resolve()
                if not path.is_relative_to(fresh.resolve()):
                    raise MirrorError(f"{place.shown}/{RECORD} is damaged: it names {name!r}.")
                place.get(source, path)
                # A log may have grown since; a checkpoint's files have hashes.
                if path.stat().st_size < size:
                    raise MirrorError(f"{place.shown}/{source} has {path.stat().st_size} bytes instead of {size}.")
            flush_tree(fresh)
            fresh.rename(target)
    except OSError as error:
        raise MirrorError(f"{place.shown} cannot be copied to {target}: {first_line(error)}.") from error
    return target


def is_mirror(value: str) -> bool:
    """Whether a text names a run on a mirror, and not a local folder."""
    return is_uri(value) and not value.lower().startswith("file:")


def _refuse_other(target: Path, copied: _Copied, shown: str) -> None:
    folder = RunFolder(target)
    here = read_manifest(folder.checkpoint)
    if here.run != copied.run:
        raise MirrorError(f"{target} is another run than {shown}; give another runs_dir.")
    if here.update < copied.update:
        raise MirrorError(
            f"{target} is at update {here.update} and {shown} at {copied.update}: move the folder away, or give "
            "another runs_dir."
        )
