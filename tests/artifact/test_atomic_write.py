"""A file is either what it was or what it becomes, whatever fails on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from secateur.artifact import atomic
from secateur.artifact.atomic import atomic_write, read_bytes, storage_error, sweep, write_bytes
from secateur.core.errors import StorageError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(b"previous")
    return path


def assert_untouched(path: Path, content: bytes = b"previous") -> None:
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name], "a temporary file was left behind"


def fail_with(code: int):
    def failing(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return failing


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert_untouched(path, b"two")
    assert read_bytes(path) == b"two"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "disk reported an error"),
    ],
)
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_failing_step_leaves_the_previous_file(
    target: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, words: str
) -> None:
    monkeypatch.setattr(atomic.os, step, fail_with(code))
    with pytest.raises(StorageError, match=words) as caught:
        write_bytes(target, b"next")
    monkeypatch.undo()
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_untouched(target)


def test_a_writer_that_fills_the_disk_leaves_the_previous_file(target: Path) -> None:
    def writer(file: object) -> None:
        file.write(b"half")
        fail_with(errno.ENOSPC)()

    with pytest.raises(StorageError, match="disk is full"):
        atomic_write(target, writer)
    assert_untouched(target)


def test_a_full_disk_under_torch_save_is_the_same_error(target: Path) -> None:
    class Full:
        write = staticmethod(fail_with(errno.ENOSPC))

    with pytest.raises(StorageError, match="disk is full"):
        atomic_write(target, lambda _: torch.save({"w": torch.zeros(1000)}, Full()))
    assert_untouched(target)


def test_other_exceptions_of_the_writer_pass_and_leave_the_previous_file(target: Path) -> None:
    def writer(file: object) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(target, writer)
    assert_untouched(target)


def test_the_content_is_synced_before_the_rename_and_the_folder_after(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        steps.append("sync folder" if is_folder else "sync file")
        sync(descriptor)

    def noted_replace(old: Path, new: Path) -> None:
        assert old.parent == new.parent
        assert old.read_bytes() == b"next"
        steps.append("rename")
        replace(old, new)

    monkeypatch.setattr(atomic.os, "fsync", noted_sync)
    monkeypatch.setattr(atomic.os, "replace", noted_replace)
    write_bytes(target, b"next")
    assert steps == ["sync file", "rename", "sync folder"]


def test_a_folder_that_fails_to_sync_is_reported(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def failing(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            fail_with(errno.EIO)()
        sync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", failing)
    with pytest.raises(StorageError, match="content is complete"):
        write_bytes(target, b"next")
    assert_untouched(target, b"next")


def test_without_overwrite_an_existing_file_is_refused(target: Path) -> None:
    def never(_: object) -> None:
        raise AssertionError("the writer was asked in vain")

    with pytest.raises(StorageError, match="would be overwritten"):
        atomic_write(target, never, overwrite=False)
    assert_untouched(target)
    write_bytes(target.with_name("other"), b"next", overwrite=False)
    assert target.with_name("other").read_bytes() == b"next"


def test_without_overwrite_a_file_that_appears_meanwhile_survives(tmp_path: Path) -> None:
    path = tmp_path / "late.bin"
    with pytest.raises(StorageError, match="would be overwritten"):
        atomic_write(path, lambda _: path.write_bytes(b"quicker"), overwrite=False)
    assert_untouched(path, b"quicker")


def test_without_hard_links_the_file_is_still_written_and_still_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic.os, "link", fail_with(errno.EPERM))
    path = tmp_path / "fat.bin"
    write_bytes(path, b"one", overwrite=False)
    assert_untouched(path, b"one")
    path.unlink()
    with pytest.raises(StorageError, match="would be overwritten"):
        atomic_write(path, lambda _: path.write_bytes(b"quicker"), overwrite=False)
    assert_untouched(path, b"quicker")


def test_permissions_stay_and_new_files_follow_the_umask(target: Path) -> None:
    target.chmod(0o640)
    write_bytes(target, b"next")
    assert target.stat().st_mode & 0o777 == 0o640
    before = os.umask(0o027)
    try:
        write_bytes(target.with_name("fresh"), b"next")
    finally:
        os.umask(before)
    assert target.with_name("fresh").stat().st_mode & 0o777 == 0o640


def test_a_symbolic_link_is_followed(target: Path) -> None:
    link = target.with_name("link")
    link.symlink_to(target)
    write_bytes(link, b"next")
    assert link.is_symlink()
    assert target.read_bytes() == b"next"


def test_names_at_the_limit_of_the_file_system_work(tmp_path: Path) -> None:
    path = tmp_path / ("가" * 85)  # 255 bytes
    write_bytes(path, b"next")
    assert_untouched(path, b"next")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent/file", "no such file or folder"),
        ("plain/file", "not a folder"),
        ("folder", "it is a folder"),
        ("x" * 300, "too long"),
    ],
)
def test_impossible_places_are_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=words):
        write_bytes(tmp_path / name, b"next")
    assert sorted(os.listdir(tmp_path)) == ["folder", "plain"]


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*no such file"):
        read_bytes(tmp_path / "absent")


def test_an_unusual_error_keeps_the_systems_words() -> None:
    text = str(storage_error(OSError(errno.ELOOP, "Too many symbolic links"), "a", "read"))
    assert text == "cannot read 'a': Too many symbolic links"


def test_sweep_deletes_only_the_leftovers_of_this_file(target: Path) -> None:
    other = target.with_name("other.bin")
    for path in (target, other):
        leftover = path.with_name(f"{atomic._prefix(path)}12345678.tmp")
        leftover.write_bytes(b"half")
    assert sweep(target) == 1
    assert sweep(target) == 0
    assert target.read_bytes() == b"previous"
    assert sweep(other) == 1


def test_a_really_full_disk_leaves_the_previous_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        write_bytes(disk / "file.bin", b"previous")
        with pytest.raises(StorageError, match="disk is full"):
            write_bytes(disk / "file.bin", bytes(1 << 20))
        assert_untouched(disk / "file.bin")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_killed_writer_leaves_the_previous_file(target: Path) -> None:
    script = """
        import os, signal, sys
        from secateur.artifact.atomic import atomic_write
        def writer(file):
            file.write(bytes(1 << 20))
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        atomic_write(sys.argv[1], writer)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"previous"
    assert sweep(target) == 1
    assert_untouched(target)
