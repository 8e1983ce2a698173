"""A file's lines become values byte for byte; the key is the line's session_id where it has one."""

from pathlib import Path

import pytest

from include.simulator.replay import ReplayError, file_size, key_of, lines

CASES: dict[str, tuple[bytes, bytes | None]] = {
    "an event": (b'{"session_id": "s-1", "event_id": "e"}', b"s-1"),
    "an event that is otherwise invalid": (b'{"timestamp": [], "session_id":"s-1"}', b"s-1"),
    "not ASCII": ('{"session_id": "독자"}'.encode(), "독자".encode()),
    "escaped": (rb'{"session_id": "\ub3c5"}', "독".encode()),
    "with a carriage return": (b'{"session_id": "s-1"}\r', b"s-1"),
    "given twice: the last, as the contract reads it": (b'{"session_id":"a","session_id":"b"}', b"b"),
    "empty": (b'{"session_id": ""}', b""),
    "none": (b'{"event_id": "e"}', None),
    "a number": (b'{"session_id": 7}', None),
    "null": (b'{"session_id": null}', None),
    "half a surrogate pair": (rb'{"session_id": "\ud800"}', None),
    "a list": (b'[{"session_id": "s-1"}]', None),
    "cut short": (b'{"session_id": "s-1", "ev', None),
    "not UTF-8": (b'{"session_id": "\xe9"}', None),
    "nothing": (b"", None),
    "nested too deeply": (b'{"a":' * 100_000, None),
}


@pytest.mark.parametrize("case", CASES)
def test_key(case: str) -> None:
    line, key = CASES[case]
    assert key_of(line) == key


def test_lines_keep_their_bytes_and_order(tmp_path: Path) -> None:
    wanted = [line for line, _ in CASES.values()]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(line + b"\n" for line in wanted))
    assert [record.value for record in lines(file)] == wanted
    assert [record.key for record in lines(file)] == [key for _, key in CASES.values()]


def test_a_last_line_without_an_end_counts_and_an_empty_one_in_between(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"a\n\nb")
    assert [record.value for record in lines(file)] == [b"a", b"", b"b"]


def test_an_empty_file_has_no_line(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.touch()
    assert list(lines(file)) == []


def test_with_a_rate_lines_are_due_one_after_the_other(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"a\nb\nc\n")
    due = [record.due_ms for record in lines(file, rate=4.0)]
    assert [later - due[0] for later in due] == pytest.approx([0, 250, 500], abs=1)


def test_a_file_that_cannot_be_read_is_named_with_the_mend(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "absent.jsonl", "No such file"), (tmp_path, "Is a directory")):
        for read in (file_size, lambda path: list(lines(path))):
            with pytest.raises(ReplayError) as refused:
                read(path)
            assert str(path) in str(refused.value)
            assert why in str(refused.value)
            assert "JSON Lines" in str(refused.value)
