"""SASL and TLS of the Kafka connection, for Spark: librdkafka's settings in, those of the Java client out.

The connection (`kafka_default`) is written for librdkafka, which the Airflow provider, the simulator and the jobs'
own checks use; Spark's Kafka source is a Java client. Names:
https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md and https://kafka.apache.org/documentation/#security.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PREFIXES: Final = ("security.", "sasl.", "ssl.", "enable.ssl.")
_LOGIN_MODULES: Final = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
_SAME_NAME: Final = ("security.protocol", "ssl.cipher.suites", "ssl.endpoint.identification.algorithm")
_FILES: Final = {
    "ssl.ca.location": "ssl.truststore.certificates",
    "ssl.certificate.location": "ssl.keystore.certificate.chain",
    "ssl.key.location": "ssl.keystore.key",
}
_TEXTS: Final = {
    "ssl.ca.pem": "ssl.truststore.certificates",
    "ssl.certificate.pem": "ssl.keystore.certificate.chain",
    "ssl.key.pem": "ssl.keystore.key",
    "ssl.key.password": "ssl.key.password",
}


class KafkaSecurityError(ValueError):
    """A security setting that Spark's Kafka client cannot be given; the message names it and the mend."""


def security_of(client_config: Mapping[str, str]) -> dict[str, str]:
    """Those of librdkafka's settings that say how to reach a broker safely."""
    return {name: value for name, value in client_config.items() if name.startswith(_PREFIXES)}


def java_settings(security: Mapping[str, str]) -> dict[str, str]:
    """The Java client's settings for `security`, which is in librdkafka's names; secrets among them.

    PEM files are read here, so the driver's machine must have them. Raises KafkaSecurityError for what the Java client
    has no counterpart of, and for a file that cannot be read.
    """
    given = dict(security)
    found = {name: given.pop(name) for name in _SAME_NAME if name in given}
    if "security.protocol" in found:
        found["security.protocol"] = found["security.protocol"].upper()  # librdkafka takes both
    if found.get("ssl.endpoint.identification.algorithm") == "none":
        found["ssl.endpoint.identification.algorithm"] = ""
    found |= _sasl(given)
    found |= {java: _pem(name, given.pop(name)) for name, java in _FILES.items() if name in given}
    found |= {java: given.pop(name) for name, java in _TEXTS.items() if name in given}
    for store in ("truststore", "keystore"):
        if any(name.startswith(f"ssl.{store}.") for name in found):
            found[f"ssl.{store}.type"] = "PEM"
    if given:
        raise KafkaSecurityError(
            f"connection kafka_default has {', '.join(sorted(given))}, which Spark's Kafka client has no counterpart of: "
            f"use SASL PLAIN or SCRAM with sasl.username and sasl.password, TLS with PEM files (ssl.ca.location, "
            f"ssl.certificate.location, ssl.key.location), or take the setting out"
        )
    return found


def _sasl(given: dict[str, str]) -> dict[str, str]:
    """Take the SASL settings out of `given`; returns Java's."""
    names = [name for name in ("sasl.mechanism", "sasl.mechanisms") if name in given]
    if not names:
        return {}
    mechanism = [given.pop(name) for name in names][-1]
    module = _LOGIN_MODULES.get(mechanism)
    if module is None:
        raise KafkaSecurityError(
            f"SASL mechanism {mechanism} of connection kafka_default is not passed to Spark: use one of "
            f"{', '.join(_LOGIN_MODULES)}"
        )
    try:
        login = {name: _quoted(given.pop(f"sasl.{name}")) for name in ("username", "password")}
    except KeyError as missing:
        raise KafkaSecurityError(
            f"connection kafka_default has {names[-1]} but no {missing.args[0]}"
        ) from None
    jaas = f"{module} required username={login['username']} password={login['password']};"
    return {"sasl.mechanism": mechanism, "sasl.jaas.config": jaas}


def _quoted(text: str) -> str:
    """As a value of a JAAS configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _pem(name: str, path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise KafkaSecurityError(
            f"{name} of connection kafka_default: cannot read {path} ({error}). It must be a PEM file that is on the "
            f"machine of the Spark driver"
        ) from error
