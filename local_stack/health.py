"""Health checks: each asks the service itself, not only its port."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable

from local_stack.ports import HOST
from local_stack.service import HealthCheck


class NotHealthyError(Exception):
    """Not (yet) healthy; the message says what is missing."""


def listens(port: int) -> None:
    """Raise NotHealthyError unless something accepts connections on `port`."""
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError as error:
        raise NotHealthyError(f"nothing listens on {HOST}:{port}") from error


def http(url: str, accept: Callable[[bytes], str | None] = lambda body: None) -> HealthCheck:
    """Check that `url` answers 2xx and that `accept(body)` names nothing missing."""

    def check() -> None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an http URL of ours
                missing = accept(answer.read())
        except (OSError, urllib.error.URLError) as error:
            raise NotHealthyError(f"{url}: {error}") from error
        if missing:
            raise NotHealthyError(missing)

    return check


def airflow_component(name: str) -> Callable[[bytes], str | None]:
    """Reads from Airflow's health answer whether component `name` is healthy."""

    def missing(body: bytes) -> str | None:
        state = (json.loads(body).get(name) or {}).get("status")
        return None if state == "healthy" else f"{name} is {state or 'not there yet'}"

    return missing


def kafka(bootstrap: str, port: int) -> HealthCheck:
    """Check that the broker answers a metadata request and knows itself."""

    def check() -> None:
        listens(port)
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            metadata = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=5)
        except KafkaException as error:
            raise NotHealthyError(f"no metadata from {bootstrap}: {error}") from error
        if not metadata.brokers:
            raise NotHealthyError(f"{bootstrap} lists no broker")

    return check


def postgres(dsn: str, port: int) -> HealthCheck:
    """Check that `SELECT 1` is answered."""

    def check() -> None:
        listens(port)
        import psycopg

        try:
            with psycopg.connect(dsn, connect_timeout=3) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise NotHealthyError(" ".join(str(error).split())) from error

    return check


def metastore(port: int) -> HealthCheck:
    """Check that the metastore lists its databases, which it reads from PostgreSQL."""

    def check() -> None:
        listens(port)
        from hmsclient import hmsclient
        from thrift.Thrift import TException
        from thrift.transport.TTransport import TTransportException

        try:
            with hmsclient.HMSClient(host=HOST, port=port) as client:
                databases = client.get_all_databases()
        except (TException, TTransportException, OSError) as error:
            raise NotHealthyError(f"get_all_databases: {error}") from error
        if "default" not in databases:
            raise NotHealthyError("no database 'default' yet")

    return check


def hiveserver2(port: int) -> HealthCheck:
    """Check that a session opens and answers SHOW DATABASES."""

    def check() -> None:
        listens(port)
        from pyhive import hive
        from thrift.Thrift import TException
        from thrift.transport.TTransport import TTransportException

        try:
            connection = hive.connect(host=HOST, port=port, auth="NOSASL")
            try:
                cursor = connection.cursor()
                cursor.execute("SHOW DATABASES")
                cursor.fetchall()
            finally:
                connection.close()
        except (TException, TTransportException, hive.Error, OSError) as error:
            raise NotHealthyError(f"SHOW DATABASES: {error}") from error

    return check
