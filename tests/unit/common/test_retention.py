"""Every Hive table has a policy, and nothing can be set to go while Kafka may still bring it again."""

from include.common.hive.tables import QUARANTINED_EVENTS, RAW_EVENTS, TABLES
from include.common.retention import LANDING_DAYS, RETENTION
from include.common.thresholds import THRESHOLDS
from include.orchestration.migrate_store import RETENTION_HOURS


def test_every_table_has_a_policy_and_no_other() -> None:
    assert set(RETENTION) == set(TABLES), "say in include.common.retention how long a new table is kept"


def test_what_is_read_together_is_kept_together() -> None:
    assert RETENTION[RAW_EVENTS] == RETENTION[QUARANTINED_EVENTS]


def test_nobody_can_set_less_than_kafka_keeps() -> None:
    for name in {*RETENTION.values(), LANDING_DAYS} - {None}:
        assert THRESHOLDS[name].unit == "days"
        assert THRESHOLDS[name].minimum * 24 > RETENTION_HOURS
        assert THRESHOLDS[name].minimum <= THRESHOLDS[name].default <= THRESHOLDS[name].maximum
