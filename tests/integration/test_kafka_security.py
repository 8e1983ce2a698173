"""A broker that takes TLS and a password only: the Spark jobs reach it with the settings of the Kafka connection."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from include.common.archive.slices import record_slice
from include.common.kafka.offsets import watermarks
from include.common.postgres import connect
from local_stack import kafka_broker, stack
from local_stack.ports import HOST
from tests.integration.batch_support import SparkSubmit, as_records, event
from tests.integration.stream_support import StreamJob, scalar

_USER, _PASSWORD = "reader", 'a "secret" \\ word'


@dataclass(frozen=True)
class SafeBroker:
    """Its listener `address`, and librdkafka's settings to reach it."""

    address: str
    security: dict[str, str]

    @property
    def client(self) -> dict[str, str]:
        return {"bootstrap.servers": self.address, **self.security}

    def env(self, **changes: str) -> dict[str, str]:
        """What job_environment gives a job."""
        return {
            "WEBTOON_KAFKA": self.address,
            "WEBTOON_KAFKA_SECURITY": json.dumps({**self.security, **changes}),
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _jaas(text: str) -> str:
    """As a quoted value in a JAAS configuration inside a properties file."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\\", "\\\\")


def _with_safe_listener(properties: str, port: int, keystore: Path) -> str:
    """The broker's own configuration, with one listener more."""
    lines = []
    for line in properties.splitlines():
        name, _, value = line.partition("=")
        if name in ("listeners", "advertised.listeners"):
            value += f",SAFE://{HOST}:{port}"
        elif name == "listener.security.protocol.map":
            value += ",SAFE:SASL_SSL"
        lines.append(f"{name}={value}")
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    lines += [
        "inter.broker.listener.name=PLAINTEXT",
        "listener.name.safe.sasl.enabled.mechanisms=PLAIN",
        f'listener.name.safe.plain.sasl.jaas.config={module} required user_{_USER}="{_jaas(_PASSWORD)}";',
        "listener.name.safe.ssl.keystore.type=PEM",
        f"listener.name.safe.ssl.keystore.location={keystore}",
    ]
    return "\n".join(lines) + "\n"


def _pkcs8(key: bytes) -> bytes:
    """Of a private key's forms the one that Java reads."""
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SafeBroker]:
    folder = tmp_path_factory.mktemp("safe-broker")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    keystore, trusted = folder / "broker.pem", folder / "ca.pem"
    keystore.write_bytes(_pkcs8(certificate.private_key_pem.bytes()) + certificate.cert_chain_pems[0].bytes())
    authority.cert_pem.write_to_path(str(trusted))
    port, plain = _free_port(), kafka_broker.properties
    security = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": _USER,
        "sasl.password": _PASSWORD,
        "ssl.ca.location": str(trusted),
    }
    state = folder / "stack"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                kafka_broker,
                "properties",
                lambda context, log_dir: _with_safe_listener(plain(context, log_dir), port, keystore),
            )
            stack.up(stack.Options(state, {"kafka"}, ephemeral_ports=True, durable=False), print)
        yield SafeBroker(f"{HOST}:{port}", security)
    finally:
        stack.clean(state, lambda line: None)


@pytest.fixture
def topic(broker: SafeBroker) -> str:
    """A topic with 30 events on it."""
    admin = AdminClient(broker.client)
    for made in admin.create_topics(
        [NewTopic("safe_events", 3, 1), NewTopic("safe_control", 1, 1)], operation_timeout=30
    ).values():
        made.result()
    producer = Producer(broker.client)
    for key, value in as_records([event(number) for number in range(30)]):
        producer.produce("safe_events", value=value, key=key)
    assert producer.flush(30) == 0
    return "safe_events"


@pytest.mark.long
def test_stream_and_archive_read_from_a_broker_that_takes_tls_and_a_password_only(
    broker: SafeBroker,
    topic: str,
    feature_db: str,
    data_dir_factory: Callable[[], Path],
    stack_env: dict[str, str],
    spark_jars: str,
) -> None:
    data = data_dir_factory()
    stream = StreamJob(stack_env, spark_jars, feature_db, data, topic, "safe_control", broker.env())
    stream.catch_up()
    assert scalar(feature_db, "SELECT sum(event_count) FROM realtime.session_features") == 30

    with connect(feature_db, application_name="test", autocommit=True) as connection:
        piece = record_slice(connection, "run-1", topic, watermarks(broker.client, topic), 1000)
    assert piece is not None
    own = {"WEBTOON_POSTGRES_DSN": feature_db, "WEBTOON_DATA_DIR": str(data)}
    done = SparkSubmit(stack_env, spark_jars, own)(
        "archive_events", "--slice-id", piece.slice_id, **broker.env()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"slice {piece.slice_id}: 30 events, 0 dead letters staged" in done.stdout
    assert _PASSWORD not in stream.log.read_text() + done.stdout + done.stderr

    refused = SparkSubmit(stack_env, spark_jars, own).plain(
        "archive_events", "--slice-id", piece.slice_id, **broker.env(**{"sasl.password": "wrong"})
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("archive_events: no answer from Kafka at 127.0.0.1:")
