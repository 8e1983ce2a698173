"""The list of processes: it fits the memory, stops in the right order, keeps secrets off command lines."""

import configparser
import json
import shutil
import stat
from pathlib import Path

import pytest

from local_stack import supervision
from local_stack.catalogue import COMPONENTS, services
from local_stack.context import Context
from local_stack.credentials import password
from local_stack.errors import StackError
from local_stack.launch import same_specification, specification, write_specification
from local_stack.paths import StatePaths, jars
from local_stack.ports import DEFAULT_PORTS, Ports

STREAM_DRIVER_MIB = 2048
STACK_LIMIT_MIB = 12 * 1024


@pytest.fixture
def context(tmp_path: Path) -> Context:
    paths = StatePaths.at(tmp_path / "state with blank")
    paths.create()
    return Context(paths, Ports(DEFAULT_PORTS))


def test_everything_together_fits_12_gib(context: Context) -> None:
    limits = [service.memory_limit_mib for service in services(context)]
    assert len(limits) == 11
    assert sum(limits) + STREAM_DRIVER_MIB <= STACK_LIMIT_MIB


def test_stopping_order(context: Context) -> None:
    order = [service.name for service in sorted(services(context), key=lambda service: service.stop_order)]
    assert order[0] == "airflow-scheduler"
    assert order[-1] == "postgres"
    airflow = [name for name in order if name.startswith("airflow")]
    assert airflow[-1] == "airflow-api-server"
    assert order.index("thrift") < order.index("metastore") < order.index("kafka") < order.index("postgres")


def test_parts_bring_what_they_need(context: Context) -> None:
    assert [service.name for service in services(context, {"thrift"})] == ["postgres", "metastore", "thrift"]
    assert [service.name for service in services(context, {"kafka"})] == ["kafka"]
    assert {service.component for service in services(context)} == set(COMPONENTS)


def test_no_password_stands_on_a_command_line_or_in_supervisords_configuration(context: Context) -> None:
    everything = services(context)
    password(context.paths.secrets, "supervisor")
    secrets = [file.read_text().strip() for file in context.paths.secrets.iterdir()]
    assert len(secrets) >= 7
    rendered = supervision.render(
        everything, context.paths, 19001, password(context.paths.secrets, "supervisor")
    )
    visible = rendered + "\n".join(" ".join(service.argv) for service in everything)
    assert not [secret for secret in secrets if secret in visible]
    assert any(secret in json.dumps(dict(everything[0].env)) for secret in secrets)  # they go by environment


def test_the_rendered_configuration_is_what_supervisord_reads(context: Context) -> None:
    from supervisor.options import ServerOptions

    everything = services(context)
    context.paths.supervisord_conf.write_text(supervision.render(everything, context.paths, 19001, "secret"))
    options = ServerOptions()
    options.realize(["-c", str(context.paths.supervisord_conf)], doc="")
    groups = {group.name: group for group in options.process_group_configs}
    assert set(groups) == {service.name for service in everything} | {"memory_watch"}
    kafka = groups["kafka"].process_configs[0]
    assert str(context.paths.launch / "kafka.json") in kafka.command
    assert kafka.stdout_logfile == str(context.paths.logs / "kafka.log")
    assert not kafka.autostart
    parsed = configparser.RawConfigParser()
    parsed.read(context.paths.supervisord_conf)
    assert parsed["inet_http_server"]["port"] == "127.0.0.1:19001"


def test_a_folder_that_supervisord_cannot_work_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="% in its name"):
        supervision.render([], StatePaths.at(tmp_path / "100%"), 19001, "secret")


def test_launch_specifications_are_private(context: Context) -> None:
    path = context.paths.launch / "x.json"
    started = specification(("true",), {"SECRET": "s", "PATH": "a"}, Path("/"))
    write_specification(path, started)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(context.paths.launch.stat().st_mode) == 0o700


def test_a_changed_specification_is_noticed_the_callers_path_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    started = specification(("true",), {"A": "1", "PATH": "a"}, Path("/"))
    assert not same_specification(path, started, besides=())
    write_specification(path, started)
    assert same_specification(path, started, besides=())
    elsewhere = specification(("true",), {"A": "1", "PATH": "b"}, Path("/"))
    assert same_specification(path, elsewhere, besides=("PATH",))
    assert not same_specification(path, elsewhere, besides=())
    assert not same_specification(path, specification(("true",), {"A": "2"}, Path("/")), besides=("PATH",))


def test_passwords_are_kept_and_differ(context: Context) -> None:
    secrets = context.paths.secrets
    assert password(secrets, "one") == password(secrets, "one") != password(secrets, "two")
    assert len(password(secrets, "one")) == 32
    assert stat.S_IMODE((secrets / "one").stat().st_mode) == 0o600


def test_a_folder_that_is_no_state_dir_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(Exception, match="does not look like a state dir"):
        StatePaths.at(tmp_path).remove()
    assert (tmp_path / "thesis.txt").exists()


def test_a_stack_can_be_stopped_on_a_machine_that_lost_its_java_and_jars(
    context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is not None:  # as root, PostgreSQL needs it
        (tmp_path / "setpriv").symlink_to(setpriv)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    by_name = {service.name: service for service in services(context)}  # all that `down` needs
    for name in ("kafka", "metastore", "thrift"):
        with pytest.raises(StackError, match="Install Java 17 or newer"):
            by_name[name].prepare()


def test_missing_jars_are_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="run `make jars`"):
        jars(tmp_path, "kafka_2.13")
