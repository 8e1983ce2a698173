"""The simulator against a real broker: what it says it sent is what the topic holds, in every way a run can end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, TopicPartition

from include.common.kafka.offsets import watermarks
from include.contract.event import ContractError, accept_record
from include.simulator.plan import DEFAULT_SHARES, NO_TROUBLE, Plan
from include.simulator.producer import ProducerError, send
from include.simulator.traffic import GOOD_KINDS, Record, records
from local_stack import stack
from tests.integration.conftest import StackSession

HOUR_MS = 3_600_000
UNREACHABLE = "127.0.0.1:1"


class Held(NamedTuple):
    """A record as the topic holds it."""

    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


def held(servers: str, topic: str) -> list[Held]:
    """All that is on the topic, by partition and offset."""
    ends = watermarks({"bootstrap.servers": servers}, topic)
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "test", "fetch.message.max.bytes": 4_194_304}
    )
    found = []
    try:
        consumer.assign([TopicPartition(topic, number, end.low) for number, end in ends.items()])
        for _ in range(sum(end.high - end.low for end in ends.values())):
            message = consumer.poll(20)
            assert message is not None
            assert message.error() is None
            found.append(Held(message.partition(), message.timestamp()[1], message.key(), message.value()))
    finally:
        consumer.close()
    return found


def command(servers: str, topic: str, *words: str) -> list[str]:
    first, *rest = words
    return [
        sys.executable, "-m", "include.simulator", first, "--bootstrap-servers", servers, "--topic", topic, *rest,
    ]  # fmt: skip


def run(servers: str, topic: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a person has it."""
    return subprocess.run(command(servers, topic, *words), capture_output=True, text=True, timeout=60)


def counted(output: str) -> int:
    """The number of records that the command line says were delivered."""
    found = re.match(r"(\d+) records delivered to ", output)
    assert found is not None, output
    return int(found[1])


def now_ms() -> int:
    return int(time.time() * 1000)


def troubled(events: int) -> list[Record]:
    """Events of the last hour with every kind of trouble."""
    shares = DEFAULT_SHARES | dict.fromkeys(DEFAULT_SHARES, 0.01) | {"too_large": 0.002}
    return list(records(Plan.backfill(now_ms(), hours=1, events=events, seed=4, shares=shares)))


def test_the_topic_holds_what_was_sent_in_its_order_and_nothing_else(kafka: str, topic: str) -> None:
    began_ms = now_ms()
    sent = troubled(3000)
    report = send(sent, {"bootstrap.servers": kafka}, topic)
    on_topic = held(kafka, topic)
    assert report.delivered == len(sent) == len(on_topic)
    assert sum(after - before for before, after in report.offsets.values()) == len(sent)
    assert all(began_ms <= record.timestamp_ms <= now_ms() for record in on_topic)

    by_key: dict[bytes | None, list[bytes | None]] = defaultdict(list)
    partitions = defaultdict(set)
    for record in on_topic:
        by_key[record.key].append(record.value)
        partitions[record.key].add(record.partition)
    without_key = by_key.pop(None)
    assert {key for key in by_key if len(partitions[key]) > 1} == set()
    wanted: dict[bytes | None, list[bytes | None]] = defaultdict(list)
    for record in sent:
        wanted[record.key].append(record.value)
    assert sorted(filter(None, without_key)) == sorted(filter(None, wanted.pop(None)))
    assert by_key == wanted


def test_the_contract_refuses_on_the_topic_what_was_meant_to_be_refused(kafka: str, topic: str) -> None:
    report = send(troubled(2000), {"bootstrap.servers": kafka}, topic)
    refused: dict[str, int] = defaultdict(int)
    for record in held(kafka, topic):
        try:
            accept_record(record.key, record.value, record.timestamp_ms)
        except ContractError as error:
            refused[error.reason.value] += 1
    meant = {
        kind: count for kind, count in report.handed_over.items() if kind not in (*GOOD_KINDS, "duplicate")
    }
    assert meant.pop("unknown_episode") > 0
    assert refused == meant


def test_the_command_line_counts_what_the_topic_holds(kafka: str, topic: str) -> None:
    ended = run(kafka, topic, "produce", "--events", "5000", "--hours", "2", "--seed", "8")
    assert ended.returncode == 0, ended.stderr
    ends = watermarks({"bootstrap.servers": kafka}, topic)
    assert counted(ended.stdout) == sum(end.high for end in ends.values()) > 5000
    for partition, end in ends.items():
        assert f"partition {partition}: offsets 0 to {end.high}" in ended.stdout


LINES = [
    b'{"session_id": "s-1", "note": "an event, nearly"}',
    b"",
    b"not json",
    '{"session_id":"독자"}'.encode(),
    b'{"session_id": 7}\r',
    b"\xff\x00\xfe",
    b'{"session_id": "s-1"}',
]
KEYS = [b"s-1", None, None, "독자".encode(), None, None, b"s-1"]


@pytest.mark.parametrize("words", [("replay",), ("produce", "--from-file")])
def test_a_file_is_replayed_byte_for_byte_with_its_keys(
    kafka: str, topic_factory: Callable[..., str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    topic = topic_factory(partitions=1)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(LINES))
    ended = run(kafka, topic, *words, str(file))
    assert ended.returncode == 0, ended.stderr
    assert [(record.key, record.value) for record in held(kafka, topic)] == list(
        zip(KEYS, LINES, strict=True)
    )
    assert counted(ended.stdout) == len(LINES)


def test_a_wrong_topic_is_one_message_with_the_mend(kafka: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"a\n")
    for words in (("produce",), ("replay", str(file))):
        ended = run(kafka, "no_such_topic", *words)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert re.fullmatch(r"error: topic 'no_such_topic' is not on .* Create it .*\n", ended.stderr)


def test_an_unreachable_broker_is_one_message_with_the_mend() -> None:
    ended = run(UNREACHABLE, "events", "produce")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"error: no answer from Kafka at 127\.0\.0\.1:1 .* Is it running .*\n", ended.stderr)


def test_what_the_broker_refuses_is_counted_and_the_rest_is_there(
    kafka: str, topic_factory: Callable[..., str], tmp_path: Path
) -> None:
    topic = topic_factory(partitions=1, **{"max.message.bytes": "2000"})
    good = [b'{"session_id": "s-%d"}' % number for number in range(50)]
    file = tmp_path / "events.jsonl"
    noise = os.urandom(20_000).replace(b"\n", b"")  # does not compress
    file.write_bytes(b"\n".join([*good[:25], noise, *good[25:]]))
    # one by one: a batch is refused as a whole
    ended = run(kafka, topic, "replay", str(file), "--rate", "10")
    assert ended.returncode == 1
    assert counted(ended.stdout) == 50
    assert "failed: MSG_SIZE_TOO_LARGE" in ended.stdout
    assert "error: 1 of 51 records were not confirmed by topic" in ended.stderr
    assert "max.message.bytes" in ended.stderr
    assert [record.value for record in held(kafka, topic)] == good


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_live_run_is_stopped_in_good_order(kafka: str, topic: str, number: signal.Signals) -> None:
    began_ms = now_ms()
    process = subprocess.Popen(
        command(kafka, topic, "produce", "--rate", "200", "--no-trouble"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + 60
        while sum(end.high for end in watermarks({"bootstrap.servers": kafka}, topic).values()) < 100:
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.1)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "stopped before the end" in errors
    on_topic = held(kafka, topic)
    assert counted(output) == len(on_topic)
    for record in on_topic:
        event = accept_record(record.key, record.value, record.timestamp_ms)
        assert began_ms - HOUR_MS / 60 <= event.timestamp <= record.timestamp_ms


@contextmanager
def broker_to_freeze(session: StackSession) -> Iterator[Callable[[], None]]:
    """A function that makes the broker hang; it goes on at the end of the block."""
    (pid,) = [service.pid for service in stack.status(session.state_dir) if service.name == "kafka"]
    try:
        yield lambda: os.kill(pid, signal.SIGSTOP)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_broker_that_goes_away_ends_the_run_with_the_counts(
    kafka: str, topic: str, stack_session: StackSession
) -> None:
    plan = Plan(now_ms() - HOUR_MS, HOUR_MS, events=501, shares=NO_TROUBLE)
    *before, record = records(plan)
    config = {"bootstrap.servers": kafka, "delivery.timeout.ms": "1500"}
    with broker_to_freeze(stack_session) as freeze:

        def until_the_run_gives_up() -> Iterator[Record]:
            yield from before
            give_up = time.monotonic() + 20
            while sum(end.high for end in watermarks({"bootstrap.servers": kafka}, topic).values()) < 500:
                assert time.monotonic() < give_up
            freeze()
            while time.monotonic() < give_up + 40:
                yield record
                time.sleep(0.01)

        with pytest.raises(
            ProducerError, match=r"were not confirmed by topic .*The broker went away"
        ) as lost:
            send(until_the_run_gives_up(), config, topic)
    report = lost.value.report
    assert report.delivered >= 500, "some of those behind were confirmed before it froze"
    assert report.total == report.delivered + report.failed.total() + report.unconfirmed > report.delivered
    assert report.failed["_MSG_TIMED_OUT"] > 0
    # what was not confirmed may be there all the same
    assert {each.value for each in before} <= {each.value for each in held(kafka, topic)}
