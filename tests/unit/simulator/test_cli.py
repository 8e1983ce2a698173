"""The command line: bad usage is exit status 2 with what is possible; nothing needs a broker here."""

import csv
from pathlib import Path

import pytest

from include.simulator.cli import main

BAD_USAGE = {
    "no command": ([], "required: command"),
    "an unknown command": (["consume"], "invalid choice: 'consume'"),
    "an unknown option": (["produce", "--speed", "9"], "unrecognized arguments: --speed 9"),
    "a shortened option": (["produce", "--event", "9"], "unrecognized arguments: --event 9"),
    "no number": (["produce", "--events", "many"], "invalid int value: 'many'"),
    "too few events": (["produce", "--events", "0"], "events is 0; it must be from 1 to"),
    "an unknown kind": (["produce", "--share", "floods=0.1"], "KIND of out_of_order, late, duplicate, null_key"),
    "a share without a kind": (["produce", "--share", "0.1"], "is not KIND=SHARE"),
    "a share above 1": (["produce", "--share", "late=2"], "share from 0 to 1"),
    "no time": (["produce", "--start", "yesterday"], "is no ISO 8601 time, such as 2026-01-31T18:00:00Z"),
    "a period in the future": (["produce", "--start", "2999-01-01"], "in the future: begin earlier"),
    "live and a past period": (["produce", "--rate", "5", "--hours", "2"], "--duration or --events end it"),
    "a duration without a rate": (["produce", "--duration", "5"], "--duration goes with --rate"),
    "a rate of nothing": (["produce", "--rate", "0"], "rate is 0"),
    "a file and a simulation": (["produce", "--from-file", "x", "--events", "3"], "leave out --events"),
    "a replay at no rate": (["replay", "x", "--rate", "-1"], "rate is -1; it must be above 0"),
    "a replay of nothing": (["replay"], "required: file"),
    "reference without a folder": (["reference"], "required: --out"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_USAGE)
def test_bad_usage(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = BAD_USAGE[case]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


@pytest.mark.parametrize("command", [["replay"], ["produce", "--from-file"]])
def test_a_missing_file_is_one_message(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(tmp_path / "absent.jsonl")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"error: cannot read {tmp_path / 'absent.jsonl'}: No such file or directory.")


def test_without_an_address_it_says_where_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["produce"]) == 1
    assert "WEBTOON_KAFKA is not set" in capsys.readouterr().err


def test_reference_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "reference"
    assert main(["reference", "--out", str(folder)]) == 0
    rows = {}
    for file in folder.glob("*.csv"):
        with file.open(encoding="utf-8", newline="") as opened:
            rows[file.stem] = len(list(csv.DictReader(opened)))
    assert set(rows) == {"titles", "episodes", "country_time_zones", "experiments"}
    assert (rows["titles"], rows["country_time_zones"], rows["experiments"]) == (40, 12, 7)
    assert str(folder) in capsys.readouterr().out


def test_reference_into_a_file_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").touch()
    assert main(["reference", "--out", str(tmp_path / "taken" / "reference")]) == 1
    assert "Not a directory" in capsys.readouterr().err
