"""Store of a run mirror: a folder of any file system that pyarrow knows, and the record of what it holds."""

from __future__ import annotations

import io
import json
import posixpath
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_gym.paths import first_line, without_password

RECORD = "mirror.json"
_FORMAT = 1
# Stores in which folders are only parts of names, and a file is there at once when it is closed.
_OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
_CHUNK = 1 << 24


class MirrorError(ValueError):
    """A mirror that cannot be used, or that another run or process writes."""


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint on a mirror.

    Attributes:
        update: Its update.
        files: Size in bytes by name.
    """

    update: int
    files: dict[str, int]

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"checkpoint-{self.update:06d}"


@dataclass(frozen=True, slots=True)
class MirrorRecord:
    """A complete copy, as `mirror.json` records it.

    Attributes:
        run: The run's id.
        files: Size in bytes by name; without those of checkpoints.
        newest: The newest checkpoint.
        best: The best one; None before the first evaluation that is better than the one before training.
    """

    run: str
    files: dict[str, int]
    newest: SavedCheckpoint
    best: SavedCheckpoint | None = None

    @property
    def update(self) -> int:
        """Of the newest checkpoint."""
        return self.newest.update

    def to_json(self) -> dict[str, Any]:
        """The content of `mirror.json`."""
        best = None if self.best is None else {"update": self.best.update, "files": self.best.files}
        return {
            "format": _FORMAT,
            "run": self.run,
            "update": self.update,
            "files": self.files,
            "checkpoint": self.newest.files,
            "best": best,
        }

    @classmethod
    def from_json(cls, content: Any) -> MirrorRecord:
        """What `to_json` gave.

        Raises:
            ValueError: It is of another format, or damaged; also KeyError, TypeError and AttributeError.
        """
        if content["format"] != _FORMAT:
            raise ValueError(f"it has format {content['format']}, and this version reads {_FORMAT}")
        # Mirrors of earlier versions have no best checkpoint.
        best = content.get("best")
        return cls(
            str(content["run"]),
            _sizes(content["files"]),
            SavedCheckpoint(int(content["update"]), _sizes(content["checkpoint"])),
            None if best is None else SavedCheckpoint(int(best["update"]), _sizes(best["files"])),
        )


def _sizes(content: Any) -> dict[str, int]:
    return {str(name): int(size) for name, size in content.items()}


class MirrorStore:
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

    def record(self) -> MirrorRecord | None:
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
            return MirrorRecord.from_json(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MirrorError(f"{self.shown}/{RECORD} is damaged: {first_line(error)}.") from error

    def write_record(self, record: MirrorRecord) -> None:
        """Writes `mirror.json`, which makes the copy a complete one."""
        self.put_text(RECORD, json.dumps(record.to_json(), indent=1) + "\n")

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
