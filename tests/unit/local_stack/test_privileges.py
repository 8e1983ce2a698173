"""PostgreSQL refuses root: what it is started with where we are root, and where we are not."""

import os
import shutil
from pathlib import Path

import pytest

from local_stack import privileges
from local_stack.errors import StackError


def test_an_ordinary_user_needs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    before = tmp_path.stat()
    privileges.give(tmp_path)
    assert privileges.drop_prefix(tmp_path) == ()
    assert tmp_path.stat().st_uid == before.st_uid


def test_root_becomes_nobody_and_may_pass_closed_folders_only_where_it_must(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(privileges, "_open_to_others", lambda path: path != tmp_path)
    user = privileges.nobody()
    usual = ("/usr/bin/setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    assert privileges.drop_prefix(Path("/usr")) == usual
    closed = privileges.drop_prefix(Path("/usr"), tmp_path)
    assert closed == (*usual, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


def test_a_closed_folder_above_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "closed" / "inside"
    folder.mkdir(parents=True)
    opened = privileges._open_to_others(folder)
    folder.parent.chmod(0o700)
    assert not privileges._open_to_others(folder)
    folder.parent.chmod(0o711)
    assert privileges._open_to_others(folder) == opened


def test_root_without_setpriv_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(StackError, match="util-linux"):
        privileges.drop_prefix()
