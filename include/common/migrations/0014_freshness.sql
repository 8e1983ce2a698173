-- How fresh each published table was, and which runs of DAGs took longer than they may.
CREATE TABLE ops.freshness (
    measured_at  timestamptz NOT NULL,
    table_name   text COLLATE "C" NOT NULL,
    published    bigint NOT NULL,
    p50_s        double precision,
    p99_s        double precision,
    max_s        double precision,
    waiting_s    double precision,
    value_age_s  double precision,
    slo_s        double precision NOT NULL,
    met          boolean,
    missed_since timestamptz,
    told_at      timestamptz,
    PRIMARY KEY (table_name, measured_at)
);
CREATE INDEX freshness_measured ON ops.freshness (measured_at);
COMMENT ON TABLE ops.freshness IS 'writer: ops__watch_freshness; one row a published table and measurement';
COMMENT ON COLUMN ops.freshness.published IS
    'events (or final readings, or archived records) published in the ten minutes before measured_at';
COMMENT ON COLUMN ops.freshness.p99_s IS
    'freshness, seconds: 99 % of them were published within it, counted from the Kafka timestamp of their event (of the oldest one of its micro-batch or slice: an upper bound)';
COMMENT ON COLUMN ops.freshness.waiting_s IS
    'seconds since the Kafka timestamp of the oldest event that is not in the table yet; NULL: nothing waits';
COMMENT ON COLUMN ops.freshness.value_age_s IS
    'age of the newest value: measured_at - its event time, seconds; grows while nothing is produced, and is no freshness';
COMMENT ON COLUMN ops.freshness.slo_s IS 'reference.thresholds, freshness_slo_s:<table>, at that moment';
COMMENT ON COLUMN ops.freshness.met IS 'false: p99_s or waiting_s over slo_s; NULL: nothing published and nothing waits';
COMMENT ON COLUMN ops.freshness.missed_since IS 'first measurement of the breach; kept until its end was told';
COMMENT ON COLUMN ops.freshness.told_at IS 'when Slack was last told of the breach; NULL: nothing told that is to be taken back';

CREATE TABLE ops.deadline_misses (
    dag_id     text NOT NULL,
    run_id     text NOT NULL,
    state      text NOT NULL,
    queued_at  timestamptz,
    allowed_s  double precision NOT NULL,
    missed_at  timestamptz NOT NULL,
    PRIMARY KEY (dag_id, run_id, allowed_s)
);
CREATE INDEX deadline_misses_missed ON ops.deadline_misses (missed_at);
COMMENT ON TABLE ops.deadline_misses IS
    'writer: the deadline callback of every DAG (plugins/deadline_callbacks.py), in the triggerer; runs that still went on then';
