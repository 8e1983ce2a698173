"""`make psql`: the password travels in the environment."""

import os
import subprocess
import sys
from typing import Any

import pytest

from local_stack import psql


def test_the_connection_is_in_the_environment_and_the_words_are_psql_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[list[str]] = []

    def fake(argv: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        called.append(argv)
        return subprocess.CompletedProcess(argv, 3)

    monkeypatch.setattr(
        os, "environ", {"WEBTOON_POSTGRES_DSN": "postgresql://me:s%40cret@127.0.0.1:5433/features"}
    )
    monkeypatch.setattr(subprocess, "run", fake)
    monkeypatch.setattr(sys, "argv", ["psql", "-c", "SELECT 1"])
    assert psql.main() == 3
    [argv] = called
    assert argv[1:] == ["-c", "SELECT 1"]
    assert not any("s@cret" in word for word in argv)
    assert {name: os.environ[name] for name in os.environ if name.startswith("PG")} == {
        "PGHOST": "127.0.0.1", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "s@cret", "PGDATABASE": "features",
    }  # fmt: skip


def test_without_a_stack_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WEBTOON_POSTGRES_DSN", raising=False)
    assert psql.main() == 1
    assert capsys.readouterr().err.startswith("psql: ")
