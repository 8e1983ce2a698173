"""What deploy/hive's image runs, run here without Docker: its start script on a new database, and on an old one."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from include.common.hive.metastore import open_metastore
from include.common.hive.tables import RAW_EVENTS
from include.common.postgres import create_database, drop_database, with_database
from local_stack import health
from local_stack.paths import PROJECT_ROOT, SPARK_JARS_DIR, pyspark_home
from local_stack.ports import HOST, ephemeral
from tests.integration.conftest import StackSession

DATABASE = "metastore_of_the_image"
READY_WITHIN_S = 90


@pytest.fixture
def environment(
    stack_session: StackSession, admin_dsn: str, spark_jars: str, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """What docker-compose.override.yml gives the container, and the paths that the image has built in."""
    context = stack_session.need("postgres")
    create_database(admin_dsn, DATABASE, owner="hive")
    database = urlsplit(context.dsn("hive", DATABASE))
    yield {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(tmp_path),
        "METASTORE_DB_HOST": HOST,
        "METASTORE_DB_PORT": str(database.port),
        "METASTORE_DB_NAME": DATABASE,
        "METASTORE_DB_USER": "hive",
        "METASTORE_DB_PASSWORD": database.password or "",
        "METASTORE_WAREHOUSE": str(tmp_path / "warehouse"),
        "SPARK_HOME": str(pyspark_home()),
        "WEBTOON_JARS_DIR": str(SPARK_JARS_DIR),
    }
    drop_database(admin_dsn, DATABASE)


def wait_until_healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    check, deadline = health.metastore(port), time.monotonic() + READY_WITHIN_S
    while True:
        try:
            check()
        except health.NotHealthyError as error:
            last = f"{error}\n{log.read_text()[-3000:]}"
        else:
            return
        assert process.poll() is None, f"it ended: {last}"
        assert time.monotonic() < deadline, last
        time.sleep(0.2)


@contextmanager
def running_metastore(environment: dict[str, str], log: Path) -> Iterator[int]:
    """The start script until its metastore answers; yields the port, then stops it as Docker does."""
    port = ephemeral()["metastore"]
    script = PROJECT_ROOT / "deploy" / "hive" / "metastore.sh"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(script)],
            env={**environment, "METASTORE_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_healthy(port, process, log)
        yield port
        process.terminate()
        assert process.wait(30) in (0, 128 + signal.SIGTERM, -signal.SIGTERM), (
            "the shell has become the server"
        )
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.long
def test_metastore_makes_its_tables_and_keeps_them(
    environment: dict[str, str], admin_dsn: str, tmp_path: Path
) -> None:
    warehouse = Path(environment["METASTORE_WAREHOUSE"])
    with (
        running_metastore(environment, tmp_path / "first.log") as port,
        open_metastore(f"thrift://{HOST}:{port}") as metastore,
    ):
        metastore.ensure_table(RAW_EVENTS, warehouse)
    with (
        running_metastore(environment, tmp_path / "second.log") as port,
        open_metastore(f"thrift://{HOST}:{port}") as metastore,
    ):
        assert metastore.all_locations(RAW_EVENTS) == {}  # raises where the table is gone
    with psycopg.connect(with_database(admin_dsn, DATABASE)) as connection:
        tables = connection.execute('SELECT "TBL_NAME" FROM "TBLS"').fetchall()
    assert tables == [(RAW_EVENTS.name,)]
    assert environment["METASTORE_DB_PASSWORD"] not in (tmp_path / "first.log").read_text()
    assert list(tmp_path.glob("tmp*")) == [], "the file with the password is gone"
