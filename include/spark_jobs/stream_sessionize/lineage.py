"""What OpenLineage is told of the stream: once a start, not once a micro-batch; the ledger has those."""

from contextlib import AbstractContextManager

from include.common.hive.tables import event_columns
from include.common.lineage.events import folder_dataset, job_run, postgres_dataset, topic_dataset
from include.common.names import Pg
from include.common.settings import Settings
from include.spark_jobs.stream_sessionize.generations import SupersededError
from include.spark_jobs.stream_sessionize.reader import Topics

_WRITTEN = (Pg.SESSION_FEATURES, Pg.USER_FEATURES, Pg.EPISODE_FEATURES, Pg.STREAM_BATCHES, Pg.LATE_EVENTS)


def lineage_of(settings: Settings, topics: Topics, name: str) -> AbstractContextManager[None]:
    """OpenLineage events of this start of the stream: one at its beginning, one at its end, none a micro-batch."""
    return job_run(
        name,
        [
            topic_dataset(settings.bootstrap_servers, topics.events, event_columns()),
            topic_dataset(settings.bootstrap_servers, topics.control),
        ],
        [
            *(postgres_dataset(settings.postgres_dsn, table) for table in _WRITTEN),
            folder_dataset(settings.landing_dir),
        ],
        streaming=True,
        called_off=SupersededError,
    )
