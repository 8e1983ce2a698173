"""Addresses of values: read, refused with the right form, written again."""

import pytest

from include.gx.results import PERSONAL_COLUMNS as HIDDEN_BY_GATES
from include.orchestration.model import KEYS
from include.trace.address import MART_KEYS, TABLES, AddressError, Kind, parse_address
from include.trace.chain import PERSONAL_COLUMNS


def test_a_value_of_a_mart() -> None:
    address = parse_address("marts.user_features/u42/user_exit_rate")
    assert (address.table.kind, address.table.mart) == (Kind.MART, "user_features")
    assert (address.condition(), address.column) == ({"user_id": "u42"}, "user_exit_rate")


def test_a_reading_has_a_whole_number_in_its_key() -> None:
    address = parse_address("hive.session_features/s%2F1/1767225600000/ep1")
    assert address.condition() == {
        "session_id": "s/1", "session_start_ms": 1_767_225_600_000, "episode_id": "ep1",
    }  # fmt: skip
    assert address.column is None
    assert str(address) == "hive.session_features/s%2F1/1767225600000/ep1"


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_reads_what_it_writes(name: str) -> None:
    values = {"dt": "2026-11-24", "session_start_ms": "-5", "kafka_partition": "0", "kafka_offset": "7"}
    table = TABLES[name]
    text = "/".join([name, *(values.get(column, "x%2F%EB%8F%85") for column in table.key), "column"])
    address = parse_address(text)
    assert str(address) == text
    assert address.column == "column"
    assert len(address.condition()) == len(table.key)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no table that can be traced"),
        ("marts.users/u1", r"marts\.user_features/<user_id>\[/<column>\]"),
        ("marts.user_features", r"does not have the form marts\.user_features/<user_id>"),
        ("marts.user_features/u1/a/b", "written with %2F"),
        ("marts.user_features//user_exit_rate", "does not have the form"),
        ("realtime.session_features/s1/soon/ep1", "session_start_ms is a whole number, not 'soon'"),
        ("hive.dead_letters/webtoon_user_events/0/1.5", "kafka_offset is a whole number"),
        ("hive.user_features_daily/yesterday/u1", "dt is a UTC date such as 2026-11-24"),
        ("serving.user_features/u1", "names no column"),
    ],
)
def test_what_cannot_be_read_is_answered_with_the_form(text: str, words: str) -> None:
    with pytest.raises(AddressError, match=words):
        parse_address(text)


def test_keys_and_personal_columns_are_those_of_the_rest_of_the_project() -> None:
    assert MART_KEYS == KEYS
    assert PERSONAL_COLUMNS == HIDDEN_BY_GATES
