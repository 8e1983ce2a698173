"""Real parts for integration tests: broker, PostgreSQL, Hive metastore, Thrift Server, Airflow.

Each is started when the first test asks for it, on free ports, in a state dir inside the project's folder
that is removed at the end. A missing part (Java, jars, a package) fails the test and says the mend.
"""

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.common.migrate import migrate
from include.common.postgres import create_database, drop_database, with_database
from local_stack import airflow_native, stack
from local_stack.airflow_api import AirflowApi
from local_stack.context import Context
from local_stack.errors import StackError
from local_stack.paths import PROJECT_ROOT, SPARK_JARS_DIR, jars
from local_stack.slack_receiver import read_messages
from tests.integration.archive_story import archive_story
from tests.integration.publish_support import Store, open_store
from tests.integration.stream_support import StreamJob

__all__ = ["archive_story"]

_PREFIX = ".stack-test-"
_BUNDLES = {
    "dags-folder": PROJECT_ROOT / "dags",
    "tests": PROJECT_ROOT / "tests" / "integration" / "airflow_dags",
}
"""Where the tests' Airflow finds DAGs: the project's, and those that only tests need."""
_TEMPLATE = "features_template"


@dataclass
class StackSession:
    """The stack of this test session; parts are added to it one by one."""

    state_dir: Path
    started: set[str] = field(default_factory=set)
    context: Context | None = None

    def need(self, *components: str) -> Context:
        """Start `components` if they do not run yet; fails the test where one cannot start."""
        if self.context is None or not self.started.issuperset(components):
            options = stack.Options(self.state_dir, set(components), ephemeral_ports=True, durable=False)
            try:
                self.context = stack.up(options, lambda line: print(line, file=sys.stderr))
            except StackError as error:
                pytest.fail(f"the stack for integration tests does not start: {error}", pytrace=False)
            self.started.update(components)
        return self.context

    def end(self) -> None:
        """Stop everything. WEBTOON_KEEP_TEST_STATE=1 keeps its folder (logs)."""
        if os.environ.get("WEBTOON_KEEP_TEST_STATE") == "1":
            stack.down(self.state_dir, lambda line: None)
            return
        stack.clean(self.state_dir, lambda line: None)
        shutil.rmtree(self.state_dir, ignore_errors=True)


def _clean_up_after_dead_sessions() -> None:
    for folder in PROJECT_ROOT.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            stack.clean(folder, lambda line: None)


@pytest.fixture(scope="session")
def stack_session() -> Iterator[StackSession]:
    """The session's stack, nothing started yet."""
    os.environ["WEBTOON_OVERRIDE_AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(
        [
            {
                "name": name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(path)},
            }
            for name, path in _BUNDLES.items()
        ]
    )
    _clean_up_after_dead_sessions()
    session = StackSession(PROJECT_ROOT / f"{_PREFIX}{os.getpid()}")
    yield session
    session.end()


@pytest.fixture(scope="session")
def stack_env(stack_session: StackSession) -> dict[str, str]:
    """Environment for a subprocess (spark-submit, dbt, our command lines) that joins the session's stack.

    Tests override WEBTOON_POSTGRES_DSN, WEBTOON_DATA_DIR, WEBTOON_EVENTS_TOPIC with their own.
    """
    return stack_session.need("postgres").process_env()


@pytest.fixture(scope="session")
def spark_jars() -> str:
    """Value of spark.jars; fails where `make jars` has not run."""
    try:
        folder = jars(SPARK_JARS_DIR, "spark-sql-kafka")
    except StackError as error:
        pytest.fail(str(error), pytrace=False)
    return ",".join(str(jar) for jar in sorted(folder.glob("*.jar")))


@pytest.fixture(scope="session")
def kafka(stack_session: StackSession) -> str:
    """Bootstrap servers of a real broker."""
    return stack_session.need("kafka").ports.address("kafka")


@pytest.fixture(scope="session")
def topic_factory(kafka: str) -> Iterator[Callable[..., str]]:
    """`topic_factory(name="events", partitions=3)` makes a topic under a fresh name, kept for ever."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka})
    made: list[str] = []

    def make(name: str = "events", partitions: int = 3, **config: str) -> str:
        topic = f"{name}_{uuid.uuid4().hex[:10]}"
        settings = {"retention.ms": "-1", **config}
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings)
        admin.create_topics([new], operation_timeout=30)[topic].result()
        made.append(topic)
        return topic

    yield make
    for outcome in admin.delete_topics(made, operation_timeout=30).values() if made else ():
        outcome.result()


@pytest.fixture
def topic(topic_factory: Callable[..., str]) -> str:
    """A fresh topic of three partitions."""
    return topic_factory()


@pytest.fixture(scope="session")
def admin_dsn(stack_session: StackSession) -> str:
    """DSN of the PostgreSQL server's superuser."""
    return stack_session.need("postgres").admin_dsn


@pytest.fixture(scope="session")
def feature_db_factory(stack_session: StackSession, admin_dsn: str) -> Iterator[Callable[[], str]]:
    """`feature_db_factory()` makes a fresh, migrated feature database and returns its owner's DSN."""
    context = stack_session.need("postgres")
    create_database(admin_dsn, _TEMPLATE, owner="webtoon")
    migrate(with_database(context.features_dsn, _TEMPLATE))
    made: list[str] = []

    def make() -> str:
        name = f"features_{uuid.uuid4().hex[:10]}"
        create_database(admin_dsn, name, owner="webtoon", template=_TEMPLATE)
        made.append(name)
        return with_database(context.features_dsn, name)

    yield make
    for name in made:
        drop_database(admin_dsn, name)


@pytest.fixture(scope="session")
def postgres(feature_db_factory: Callable[[], str]) -> str:
    """DSN of a migrated feature database that the whole session shares."""
    return feature_db_factory()


@pytest.fixture
def feature_db(feature_db_factory: Callable[[], str], admin_dsn: str) -> Iterator[str]:
    """DSN of a fresh, migrated feature database of this test alone."""
    dsn = feature_db_factory()
    yield dsn
    drop_database(admin_dsn, dsn.rsplit("/", 1)[1])


@pytest.fixture(scope="session")
def metastore(stack_session: StackSession) -> str:
    """Thrift URI of a real Hive metastore."""
    return stack_session.need("metastore").metastore_uri


@pytest.fixture(scope="session")
def hiveserver2(stack_session: StackSession) -> tuple[str, int]:
    """Host and port of a real Spark Thrift Server (auth NOSASL)."""
    context = stack_session.need("thrift")
    return "127.0.0.1", context.ports["thrift"]


@dataclass(frozen=True)
class SlackReceiver:
    """The Slack stand-in: connection host `address`/services; `messages()` are those received, oldest first."""

    address: str
    file: Path

    def messages(self) -> list[dict[str, Any]]:
        """Each has `received_at`, `path`, `payload`."""
        return read_messages(self.file)


@pytest.fixture(scope="session")
def slack_receiver(stack_session: StackSession) -> SlackReceiver:
    """A real HTTP server that stands in for Slack."""
    return _slack_of(stack_session)


def _slack_of(session: StackSession) -> SlackReceiver:
    context = session.need("slack")
    return SlackReceiver(context.ports.address("slack"), session.state_dir / "slack_messages.jsonl")


@dataclass(frozen=True)
class AirflowStack:
    """Whole native Airflow and all it works on; DAGs are paused until a test unpauses them."""

    context: Context
    api: AirflowApi
    slack: SlackReceiver

    @property
    def feature_dsn(self) -> str:
        """The feature database that this Airflow's connections point to."""
        return self.context.features_dsn

    @property
    def env(self) -> dict[str, str]:
        """Environment that a task of this Airflow has."""
        return airflow_native.process_env(self.context)


def get_page(address: str, token: str | None = None) -> tuple[int, str]:
    """Status, and the text where it is 200."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.fixture(scope="module")
def publish_store(
    metastore: str,
    feature_db_factory: Callable[[], str],
    data_dir_factory: Callable[[], Path],
    stack_env: dict[str, str],
    spark_jars: str,
) -> Iterator[Store]:
    """What the publisher works on, of this module alone."""
    with open_store(feature_db_factory(), data_dir_factory(), metastore, stack_env, spark_jars) as opened:
        yield opened


@pytest.fixture(scope="session")
def airflow_stack(stack_session: StackSession, slack_receiver: SlackReceiver) -> AirflowStack:
    """Airflow with Kafka, PostgreSQL, metastore, Thrift Server and Slack stand-in (40 s, 3 GB)."""
    return _airflow_of(stack_session, slack_receiver)


@pytest.fixture(scope="module")
def airflow_alone(stack_session: StackSession) -> Iterator[AirflowStack]:
    """A second one, for a file whose events must be the first on their topic: others' would make them late."""
    session = StackSession(stack_session.state_dir.with_name(f"{stack_session.state_dir.name}-alone"))
    try:
        yield _airflow_of(session, _slack_of(session))
    finally:
        session.end()


def _airflow_of(session: StackSession, slack: SlackReceiver) -> AirflowStack:
    context = session.need("airflow", "kafka", "metastore", "thrift", "slack", "docs")
    api = AirflowApi(
        airflow_native.base_url(context), airflow_native.ADMIN, airflow_native.admin_password(context)
    )
    return AirflowStack(context, api, slack)


@pytest.fixture(scope="session")
def data_dir_factory(stack_session: StackSession) -> Callable[[], Path]:
    """`data_dir_factory()` makes a fresh data folder with landing/, checkpoints/, staging/, warehouse/."""

    def make() -> Path:
        folder = stack_session.state_dir / "test-data" / uuid.uuid4().hex[:10]
        for name in ("landing", "checkpoints", "staging", "warehouse"):
            (folder / name).mkdir(parents=True)
        return folder

    return make


@pytest.fixture
def data_dir(data_dir_factory: Callable[[], Path]) -> Iterator[Path]:
    """A fresh data folder of this test alone."""
    folder = data_dir_factory()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stream_job(
    stack_env: dict[str, str], spark_jars: str, feature_db: str, data_dir: Path
) -> Callable[[str], StreamJob]:
    """`stream_job(topic)` is the stream over a topic, with a database, a folder and ticks of this test alone."""

    def make(topic: str) -> StreamJob:
        return StreamJob(stack_env, spark_jars, feature_db, data_dir, topic, f"ticks_{uuid.uuid4().hex[:8]}")

    return make
