"""Where the files of a run are: a folder of this machine, or of whatever file
system Arrow opens by its URI (s3://, gs://, hdfs://).

What is published appears under its name whole: it is written beside its place,
on this machine forced to the disk, then moved. Threads: any number may use one
Files; processes open their own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from dataclasses import dataclass
from typing import Any

from ._need import need

pafs = need("pyarrow.fs", "bulk")

# Readers of folders of Parquet skip names that begin so.
HIDDEN = ("_", ".")
TEMPORARY = "_temporary"


@dataclass(frozen=True)
class Found:
    """A file below a folder: its name from there, bytes, and when it was last
    written, in nanoseconds since 1970."""

    name: str
    n_bytes: int
    modified: int


def absolute(place: str) -> str:
    """The same place for processes with another working directory; without a
    slash at its end."""
    return place.rstrip("/") if "://" in place else os.path.abspath(place)


class Files:
    """The files below one folder, which need not exist yet."""

    def __init__(self, place: str) -> None:
        self.place = place
        if "://" in place:
            self.system, self._base = pafs.FileSystem.from_uri(place)
        else:
            self.system, self._base = pafs.LocalFileSystem(), place
        self._is_local = self.system.type_name == "local"

    def path(self, name: str) -> str:
        """For calls on ``system``."""
        return f"{self._base}/{name}"

    def exists(self, name: str) -> bool:
        found = self.system.get_file_info(self.path(name))
        return bool(found.type != pafs.FileType.NotFound)

    def find(self, name: str) -> Found:
        info = self.system.get_file_info(self.path(name))
        return Found(name, info.size, info.mtime_ns)

    def list(self) -> list[Found]:
        """All files, hidden ones too, by name; [] where there is no folder."""
        selector = pafs.FileSelector(self._base, allow_not_found=True,
                                     recursive=True)
        start = len(self._base) + 1
        return sorted(
            (Found(info.path[start:], info.size, info.mtime_ns)
             for info in self.system.get_file_info(selector)
             if info.type == pafs.FileType.File), key=lambda found: found.name)

    def is_file(self) -> bool:
        """Whether the place itself is a file."""
        found = self.system.get_file_info(self._base)
        return bool(found.type == pafs.FileType.File)

    def open(self, name: str) -> Any:
        return self.system.open_input_file(self.path(name))

    def read(self, name: str) -> bytes:
        with self.system.open_input_stream(self.path(name)) as stream:
            return bytes(stream.read())

    # ---- Publishing ---------------------------------------------------------

    def new_temporary(self, name: str) -> str:
        """A name to write ``name`` under; it says which process of which host
        does, and two calls never give the same."""
        self.system.create_dir(self.path(TEMPORARY), recursive=True)
        stem = os.path.basename(name)
        return (f"{TEMPORARY}/{stem}.{socket.gethostname()}.{os.getpid()}."
                f"{uuid.uuid4().hex}")

    def count_temporary(self, name: str) -> int:
        """How many have begun to write ``name`` and neither published it nor
        removed what they had."""
        selector = pafs.FileSelector(self.path(TEMPORARY),
                                     allow_not_found=True)
        return sum(info.base_name.startswith(f"{os.path.basename(name)}.")
                   for info in self.system.get_file_info(selector))

    def publish(self, temporary: str, name: str) -> None:
        """Moves a closed file to its place, whatever was there before."""
        source, target = self.path(temporary), self.path(name)
        folder = os.path.dirname(target)
        self.system.create_dir(folder, recursive=True)
        if not self._is_local:
            self.system.move(source, target)
            return
        # Else a crash of the machine could keep the name and lose the bytes.
        _force_to_disk(source)
        os.replace(source, target)
        _force_to_disk(folder)

    def publish_bytes(self, name: str, data: bytes) -> None:
        temporary = self.new_temporary(name)
        with self.system.open_output_stream(self.path(temporary)) as stream:
            stream.write(data)
        self.publish(temporary, name)

    def remove(self, name: str) -> None:
        if self.exists(name):
            self.system.delete_file(self.path(name))

    def remove_temporary(self) -> None:
        """What workers that were killed have left, if nobody is in the way:
        one that its engine has given up may still be writing."""
        with contextlib.suppress(OSError):
            if self.exists(TEMPORARY):
                self.system.delete_dir(self.path(TEMPORARY))


def is_hidden(name: str) -> bool:
    return any(part.startswith(HIDDEN) for part in name.split("/"))


def _force_to_disk(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
