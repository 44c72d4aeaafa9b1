"""Run mirror: a copy of the run folder on object storage (`s3://…`, `gs://…`), renewed after each checkpoint.

The run works on a local disk, so that nothing waits for the network but the copying. A mirror holds the files of the
run folder, `checkpoint-NNNNNN/` of the newest and the best checkpoint, and `mirror.json`. That file is written last and
names what belongs together; so a copy that was interrupted leaves the one before.
"""

from __future__ import annotations

import posixpath
import sys
import time
from pathlib import Path

from sdar_gym.files import UNFINISHED, flush_tree, fresh_sibling
from sdar_gym.paths import first_line, is_uri, local_path
from sdar_gym.runs.checkpoint import CheckpointError, read_manifest
from sdar_gym.runs.folder import RunFolder
from sdar_gym.runs.lock import LOCK
from sdar_gym.runs.mirror_store import RECORD, MirrorError, MirrorRecord, MirrorStore, SavedCheckpoint

__all__ = ["Mirror", "MirrorError", "check_mirror", "fetch_run", "is_mirror"]

_ATTEMPTS = 3
_PAUSE_S = 2.0
# The newest checkpoint and the one before.
_KEPT = 2


class Mirror:
    """The mirror of one run folder, `ADDRESS/<name of the folder>`.

    Args:
        address: The setting `mirror`.
        folder: The run folder.

    Raises:
        MirrorError: The address cannot be used.
    """

    def __init__(self, address: str, folder: RunFolder):
        self.place = MirrorStore(_below(address, folder.path.name))
        self._folder = folder
        # Sizes and times of what was copied by this process.
        self._seen: dict[str, tuple[int, int]] = {}
        self._update = -1
        self._best = -1

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
        root = self._folder.path
        newest = _saved(update, self._folder.newest_checkpoint)
        if update != self._update:
            self._put(newest, self._folder.newest_checkpoint)
        best = self._copied_best(newest)
        sizes: dict[str, int] = {}
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if not path.is_file() or _stays(name):
                continue
            facts = path.stat()
            seen = (facts.st_size, facts.st_mtime_ns)
            if self._seen.get(name) != seen:
                self.place.put(name, path)
                self._seen[name] = seen
            sizes[name] = facts.st_size
        copied = MirrorRecord(run, sizes, newest, best)
        self.place.write_record(copied)
        self._update = update
        for name in self.place.checkpoints()[:-_KEPT]:
            if best is None or name != best.folder:
                self.place.remove_folder(name)

    def _copied_best(self, newest: SavedCheckpoint) -> SavedCheckpoint | None:
        """The best checkpoint, which is copied unless it is there; None if the run has none."""
        folder = self._folder.best_checkpoint
        try:
            best = _saved(read_manifest(folder).update, folder)
        except CheckpointError:
            return None
        if best.update not in (self._best, newest.update):
            self._put(best, folder)
        self._best = best.update
        return best

    def _put(self, saved: SavedCheckpoint, folder: Path) -> None:
        for name in saved.files:
            self.place.put(f"{saved.folder}/{name}", folder / name)


def _saved(update: int, folder: Path) -> SavedCheckpoint:
    return SavedCheckpoint(update, {path.name: path.stat().st_size for path in sorted(folder.iterdir())})


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
    place = MirrorStore(address)
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
    place = MirrorStore(address)
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
            wanted = [(name, name, size) for name, size in copied.files.items()]
            wanted += _files_of(copied.newest, "checkpoint")
            wanted += [] if copied.best is None else _files_of(copied.best, "best_checkpoint")
            for source, name, size in wanted:
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


def _files_of(saved: SavedCheckpoint, folder: str) -> list[tuple[str, str, int]]:
    """Of each file of a checkpoint the name on the mirror, the name in the run folder, and the size."""
    return [(f"{saved.folder}/{name}", f"{folder}/{name}", size) for name, size in saved.files.items()]


def is_mirror(value: str) -> bool:
    """Whether a text names a run on a mirror, and not a local folder."""
    return is_uri(value) and not value.lower().startswith("file:")


def _refuse_other(target: Path, copied: MirrorRecord, shown: str) -> None:
    folder = RunFolder(target)
    here = read_manifest(folder.checkpoint)
    if here.run != copied.run:
        raise MirrorError(f"{target} is another run than {shown}; give another runs_dir.")
    if here.update < copied.update:
        raise MirrorError(
            f"{target} is at update {here.update} and {shown} at {copied.update}: move the folder away, or give "
            "another runs_dir."
        )
