"""Which file system a folder is on, whatever has been mounted beside it and by whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from unitsync.link.mounts import NETWORK, file_system

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


def kind(tmp_path: Path, folder: str, *lines: str | bytes) -> str:
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(b"".join(x if isinstance(x, bytes) else x.encode() for x in (ROOT, *lines)))
    return file_system(folder, str(mounts))


def test_the_innermost_counts_and_of_several_the_last(tmp_path: Path) -> None:
    assert kind(tmp_path, "/no/where") == "ext4"
    home = "30 22 0:40 / /no rw - nfs4 server:/no rw\n"
    assert kind(tmp_path, "/no/where", home) == "nfs4"
    assert kind(tmp_path, "/nowhere", home) == "ext4"
    over = "31 30 0:41 / /no rw - tmpfs none rw\n"
    assert kind(tmp_path, "/no/where", home, over) == "tmpfs"
    assert "nfs4" in NETWORK


def test_it_is_escaped(tmp_path: Path) -> None:
    line = "30 22 0:40 / /a\\040b\\134c rw - nfs server:/ rw\n"
    assert kind(tmp_path, "/a b\\c/d", line) == "nfs"


@pytest.mark.parametrize("name", ["/mnt/日本", "/mnt/é", "/mnt/a\u2003b", b"/mnt/\xff\xfe"])
def test_a_name_in_any_script_or_in_none(tmp_path: Path, name: str | bytes) -> None:
    raw = name.encode() if isinstance(name, str) else name
    line = b"30 22 0:40 / " + raw + b" rw - nfs server:/ rw\n"
    assert kind(tmp_path, "/tmp/x", line) == "ext4"
    assert kind(tmp_path, raw.decode("utf-8", "surrogateescape") + "/x", line) == "nfs"


def test_a_name_that_looks_like_a_further_line(tmp_path: Path) -> None:
    """Users mount with FUSE where they please; of another's folder that says nothing."""
    line = "30 22 0:40 / /home/x/a\r31 22 0:41 / /no rw - nfs s:/ rw - fuse.x x rw\n"
    assert kind(tmp_path, "/no/where", line) == "ext4"


def test_where_it_cannot_be_told(tmp_path: Path) -> None:
    assert file_system("/tmp", str(tmp_path / "missing")) == ""
    assert kind(tmp_path, "/tmp", "nonsense\n\n") == "ext4"
