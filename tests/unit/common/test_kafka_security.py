"""librdkafka's security settings as the Java client's, and what is refused."""

import json
from pathlib import Path

import pytest

from include.common.kafka.security import KafkaSecurityError, java_settings, security_of
from include.common.settings import Settings, SettingsError
from include.spark_jobs.session import kafka_source

SCRAM = {
    "security.protocol": "sasl_ssl",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "reader",
    "sasl.password": 'p"a\\ss',
}


def test_only_what_says_how_to_reach_the_broker_safely_is_taken() -> None:
    config = {"bootstrap.servers": "k:9092", "group.id": "g", "socket.timeout.ms": "5000", **SCRAM}
    assert security_of(config) == SCRAM


def test_a_password_is_quoted_for_jaas() -> None:
    assert java_settings(SCRAM) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="reader" password="p\\"a\\\\ss";',
    }


def test_pem_files_become_text(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("ca", "certificate", "key")}
    for name, path in files.items():
        path.write_text(f"-- {name} --")
    assert java_settings(
        {
            "security.protocol": "SSL",
            "ssl.ca.location": str(files["ca"]),
            "ssl.certificate.location": str(files["certificate"]),
            "ssl.key.location": str(files["key"]),
            "ssl.key.password": "x",
            "ssl.endpoint.identification.algorithm": "none",
        }
    ) == {
        "security.protocol": "SSL",
        "ssl.endpoint.identification.algorithm": "",
        "ssl.truststore.certificates": "-- ca --",
        "ssl.truststore.type": "PEM",
        "ssl.keystore.certificate.chain": "-- certificate --",
        "ssl.keystore.key": "-- key --",
        "ssl.keystore.type": "PEM",
        "ssl.key.password": "x",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sasl.mechanism": "OAUTHBEARER"}, "SASL mechanism OAUTHBEARER"),
        ({"sasl.mechanism": "PLAIN", "sasl.username": "u"}, "no sasl.password"),
        ({"enable.ssl.certificate.verification": "false"}, "enable.ssl.certificate.verification"),
        ({"ssl.ca.location": "/no/such.pem"}, "cannot read /no/such.pem"),
    ],
)
def test_what_the_java_client_cannot_be_given_is_refused_by_name(given: dict[str, str], said: str) -> None:
    with pytest.raises(KafkaSecurityError, match="kafka_default") as refused:
        java_settings(given)
    assert said in str(refused.value)


def _settings(monkeypatch: pytest.MonkeyPatch, security: str) -> Settings:
    for name, value in (("KAFKA", "k:9092"), ("POSTGRES_DSN", "x"), ("DATA_DIR", "/data")):
        monkeypatch.setenv(f"WEBTOON_{name}", value)
    monkeypatch.setenv("WEBTOON_KAFKA_SECURITY", security)
    return Settings.from_env()


def test_both_clients_get_them_and_a_printed_setting_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = _settings(monkeypatch, json.dumps(SCRAM))
    assert settings.kafka_client == {"bootstrap.servers": "k:9092", **SCRAM}
    (tmp_path / "spark-sql-kafka-0-10.jar").touch()
    monkeypatch.setenv("WEBTOON_JARS_DIR", str(tmp_path))
    source = kafka_source(settings)
    assert source["kafka.bootstrap.servers"] == "k:9092"
    assert source["kafka.sasl.mechanism"] == "SCRAM-SHA-512"
    assert "reader" not in repr(settings)


@pytest.mark.parametrize("text", ["{", "[]", '{"sasl.password": 1}'])
def test_settings_that_are_no_object_of_texts_are_refused_without_quoting_them(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with pytest.raises(SettingsError, match="WEBTOON_KAFKA_SECURITY") as refused:
        _settings(monkeypatch, text)
    assert text not in str(refused.value)
