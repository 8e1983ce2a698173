"""Which tables are published, what each is fed by, and how fresh it must be (default of its threshold).

The value in force stands in `reference.thresholds` as `freshness_slo_s:<table>` and is changed by thresholds.csv and
`reference__load`, without a deployment. Freshness is publication (commit) time - Kafka timestamp of the event; for the
tables of final readings the event is the one that made them final, so the 30 minutes that a session is kept open
(its meaning, not a delay) are not in it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from include.common.hive.tables import PUBLISHED_TABLES
from include.common.names import MARTS, Hive, Pg

PREFIX: Final = "freshness_slo_s:"


class Feed(StrEnum):
    """How rows come into a table: where its publications are recorded."""

    STREAM = "stream"
    """In the transaction of a micro-batch (ops.stream_batches): all realtime tables at once."""
    MODEL = "model"
    """By the publication of a cut (ops.model_cuts): all marts at once."""
    PUBLISHER = "publisher"
    """By a publication of Hive partitions (ops.publications)."""
    ARCHIVE = "archive"
    """By slices of the topic (ops.archive_slices)."""


@dataclass(frozen=True)
class PublishedTable:
    """`name` as readers know it; `slo_s` the default of its SLO, seconds; `hive_table` as ops.publications has it."""

    name: str
    feed: Feed
    slo_s: float
    hive_table: str = ""

    @property
    def threshold(self) -> str:
        """Name of its SLO in reference.thresholds."""
        return f"{PREFIX}{self.name}"


def _hive(table: str, feed: Feed, slo_s: float) -> PublishedTable:
    return PublishedTable(f"{Hive.DATABASE}.{table}", feed, slo_s, table)


_REALTIME_S, _MARTS_S, _ARCHIVE_S, _PUBLISHER_S = 5, 20 * 60, 20 * 60, 35 * 60
"""DESIGN section 6 with 500 k open sessions; a run every 10 minutes that may take 10; a Spark job more after it."""

PUBLISHED: Final = (
    *(
        PublishedTable(table, Feed.STREAM, _REALTIME_S)
        for table in (Pg.SESSION_FEATURES, Pg.USER_FEATURES, Pg.EPISODE_FEATURES)
    ),
    # views: a row is served at the moment that its realtime (segments: mart) row is committed
    *(
        PublishedTable(f"serving.{view}", Feed.STREAM, _REALTIME_S)
        for view in ("session_features", "user_features", "episode_features")
    ),
    PublishedTable("serving.segment_features", Feed.MODEL, _MARTS_S),
    *(PublishedTable(f"{Pg.MARTS_SCHEMA}.{mart}", Feed.MODEL, _MARTS_S) for mart in MARTS),
    _hive(Hive.RAW_EVENTS, Feed.ARCHIVE, _ARCHIVE_S),
    *(_hive(table.name, Feed.PUBLISHER, _PUBLISHER_S) for table in PUBLISHED_TABLES),
)
