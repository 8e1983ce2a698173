"""Doctor: what it finds, the mend it names, and its exit status."""

from pathlib import Path

import pytest

from local_stack import doctor
from local_stack.cli import main


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21" 2023-09-19 LTS', 21),
        ("command not found", None),
    ],
)
def test_java_versions(output: str, version: int | None) -> None:
    assert doctor.parse_java_version(output) == version


@pytest.mark.parametrize(
    ("version", "fit"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]
)
def test_python_versions(version: tuple[int, int], fit: bool) -> None:
    finding = doctor.check_python(version)
    assert (finding.problem is None) == fit
    if not fit:
        assert "apt-get install python3.11" in str(finding.problem)
        assert "brew install" in str(finding.problem)


def test_memory_below_the_need_is_a_problem() -> None:
    assert doctor.check_memory(7.9).problem == "8 GiB are needed: close other programs"
    assert doctor.check_memory(8.1).problem is None


def test_a_machine_without_java_and_maven_fails_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert main(["doctor", "--state-dir", str(tmp_path / "state"), "--ephemeral-ports"]) == 1
    printed = capsys.readouterr().out
    assert "FAIL  Java: not found" in printed
    assert "sudo apt-get install openjdk-17-jre-headless" in printed
    assert "FAIL  Maven: not found" in printed
    assert "thing(s) to mend" in printed


def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    finding = doctor.check_java()
    assert finding.found.startswith("11 ")
    assert "Java 17 or newer is needed" in str(finding.problem)


def test_a_taken_port_is_a_problem_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from local_stack import ports

    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        for name, port in ports.ephemeral().items():
            monkeypatch.setenv(ports.variable(name), str(port))
        monkeypatch.setenv("WEBTOON_PORT_POSTGRES", str(listener.getsockname()[1]))
        finding = doctor.check_ports(tmp_path)
    assert finding.required
    assert "(postgres) is taken by another program" in str(finding.problem)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--only", "kafka,cassandra"], "unknown part cassandra; choose from postgres, kafka"),
        (["upp"], "invalid choice: 'upp'"),
        (["up", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_usage_is_one_message_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_status_of_nothing_says_how_to_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--state-dir", str(tmp_path / "none")]) == 3
    assert "make up" in capsys.readouterr().out


def test_down_of_nothing_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--state-dir", str(tmp_path / "none")]) == 0
    assert not (tmp_path / "none").exists()
