"""What a disk holds after a power cut: changes to a folder recorded, and cut short at every point.

The model is a file system that keeps names in the order they were changed, as a journal does, and
that may lose any content and any names that were not waited for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Name = tuple[str, str]  # "file" and the number of its content, or "link" and its target


@dataclass(frozen=True)
class Step:
    """A change: what was done to which name or content.

    Attributes:
        kind: "name", "remove", "write", "sync" (of content) or "sync names".
        name: that was changed; empty for content.
        value: what it stands for now.
        content: number of it.
        data: that was written.
    """

    kind: str
    name: str = ""
    value: Name | None = None
    content: str = ""
    data: bytes = b""


@dataclass
class Recorder:
    """Records what a process does to the files of one folder, by way of `os`."""

    folder: Path
    steps: list[Step] = field(default_factory=list)
    before: dict[str, Name] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)  # at the beginning, on the disk
    _names: dict[str, Name] = field(default_factory=dict)
    _open: dict[int, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Records inside."""
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if path.is_symlink():
                self.before[path.name] = ("link", os.readlink(path))  # noqa: PTH115
            elif path.is_file():
                self.contents[f"old {path.name}"] = path.read_bytes()
                self.before[path.name] = ("file", f"old {path.name}")
        self._names = dict(self.before)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "write", "fsync", "replace", "symlink", "unlink", "close"):
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            yield

    def _wrapped(self, name: str, whole: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            done = whole(*arguments, **options)
            getattr(self, f"_{name}_done")(done, *arguments)
            return done

        return call

    def _own(self, path: Any) -> str:
        """Returns the name of a path in the folder; empty for another."""
        found = Path(os.fspath(path)) if isinstance(path, str | os.PathLike) else Path()
        return found.name if found.parent == self.folder else ""

    def _open_done(self, descriptor: int, path: Any, flags: int, *_: Any) -> None:
        if flags & os.O_DIRECTORY and Path(os.fspath(path)) == self.folder:
            self._open[descriptor] = ""
        name = self._own(path)
        if name and flags & os.O_CREAT and not name.endswith(".lock"):
            content = f"new {len(self.steps)}"
            self._open[descriptor] = content
            self._named(name, ("file", content))

    def _write_done(self, count: int, descriptor: int, data: Any) -> None:
        if self._open.get(descriptor):
            content = self._open[descriptor]
            self.steps.append(Step("write", content=content, data=bytes(data[:count])))

    def _fsync_done(self, _: None, descriptor: int) -> None:
        if descriptor in self._open:
            content = self._open[descriptor]
            self.steps.append(Step("sync", content=content) if content else Step("sync names"))

    def _close_done(self, _: None, descriptor: int) -> None:
        self._open.pop(descriptor, None)

    def _replace_done(self, _: None, old: Any, new: Any, **__: Any) -> None:
        if self._own(new):
            value = self._names.pop(self._own(old))
            self._named(self._own(new), value)  # one step: the old name goes with it
            self.steps.append(Step("remove", self._own(old)))

    def _symlink_done(self, _: None, target: Any, link: Any, *__: Any) -> None:
        if self._own(link):
            self._named(self._own(link), ("link", os.fspath(target)))

    def _unlink_done(self, _: None, path: Any, **__: Any) -> None:
        if self._own(path) and not self._own(path).endswith(".lock"):
            self._names.pop(self._own(path), None)
            self.steps.append(Step("remove", self._own(path)))

    def _named(self, name: str, value: Name) -> None:
        self._names[name] = value
        self.steps.append(Step("name", name, value))


@dataclass(frozen=True)
class Disk:
    """What a disk may hold after a power cut."""

    names: dict[str, Name]
    contents: dict[str, bytes]

    def restore(self, folder: Path) -> None:
        """Writes it into a new folder."""
        folder.mkdir()
        for name, (kind, value) in self.names.items():
            if kind == "link":
                (folder / name).symlink_to(value)
            else:
                (folder / name).write_bytes(self.contents[value])


def disks(recorder: Recorder) -> Iterator[Disk]:
    """Yields what the disk may hold if the power is cut after each of the steps recorded."""
    for count in range(len(recorder.steps) + 1):
        yield from _after(recorder, recorder.steps[:count])


def _after(recorder: Recorder, steps: list[Step]) -> Iterator[Disk]:
    """Yields disks that kept some of the names changed since the last sync, and some content."""
    last = max((n for n, step in enumerate(steps) if step.kind == "sync names"), default=-1)
    changes = [n for n, step in enumerate(steps) if step.kind in ("name", "remove")]
    pending = [n for n in changes if n > last]
    for kept in range(len(pending) + 1):
        lost = set(pending[kept:])
        names = dict(recorder.before)
        for number in (n for n in changes if n not in lost):
            step = steps[number]
            names.pop(step.name, None)
            if step.value is not None:
                names[step.name] = step.value
        for share in (0.0, 0.5, 1.0):  # of the content that was not waited for
            yield Disk(names, _contents(recorder, steps, share))


def _contents(recorder: Recorder, steps: list[Step], share: float) -> dict[str, bytes]:
    whole, synced = dict(recorder.contents), {name: len(c) for name, c in recorder.contents.items()}
    for step in steps:
        if step.kind == "name" and step.value is not None and step.value[0] == "file":
            whole.setdefault(step.value[1], b"")
        elif step.kind == "write":
            whole[step.content] += step.data
        elif step.kind == "sync":
            synced[step.content] = len(whole[step.content])
    found = {}
    for name, content in whole.items():
        safe = synced.get(name, 0)
        found[name] = content[: safe + int(share * (len(content) - safe))]
    return found
