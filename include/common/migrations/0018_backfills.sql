-- Days of Hive's session_features that were rebuilt from the archived events. Recorded before a partition is pointed at the
-- new folder: a crash between the two leaves the old partition, and clearing goes on.
CREATE TABLE ops.backfills (
    run_id           text NOT NULL,
    dt               date NOT NULL,
    positions        jsonb NOT NULL,
    with_late_events boolean NOT NULL,
    rows_equal       bigint NOT NULL,
    rows_new         bigint NOT NULL,
    rows_changed     bigint NOT NULL,
    rows_gone        bigint NOT NULL,
    changed_by_column jsonb NOT NULL,
    location         text NOT NULL,
    published_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dt, run_id)
);
COMMENT ON TABLE ops.backfills IS
    'writer: features__backfill (its Spark job publish_features); a row for each day that a run has published';
COMMENT ON COLUMN ops.backfills.positions IS
    'stream generation -> ledger position: readings that landed up to there are settled by the rebuilt rows, and are not merged into them again';
COMMENT ON COLUMN ops.backfills.with_late_events IS
    'the rows are the late-corrected revision: they also count events that the stream listed as late';
ALTER TABLE ops.publications ADD COLUMN is_backfill boolean NOT NULL DEFAULT FALSE;
COMMENT ON COLUMN ops.publications.is_backfill IS
    'a rebuilt day: it says nothing about how far the ledger is published';
