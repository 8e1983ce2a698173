-- writer: the stream
CREATE TABLE ops.stream_generations (
    generation     integer PRIMARY KEY,
    status         text NOT NULL CHECK (status IN ('current', 'shadow', 'retired')),
    checkpoint     text NOT NULL,
    rules          jsonb NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX stream_generations_one_current ON ops.stream_generations (status) WHERE status = 'current';
CREATE TABLE ops.stream_batches (
    generation     integer NOT NULL REFERENCES ops.stream_generations,
    batch_id       bigint NOT NULL,
    position       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    start_offsets  jsonb NOT NULL,
    end_offsets    jsonb NOT NULL,
    landing_path   text,
    landing_rows   bigint NOT NULL,
    landing_sha256 text,
    events         bigint NOT NULL,
    dead_letters   bigint NOT NULL,
    duplicates     bigint NOT NULL,
    late_events    bigint NOT NULL,
    rows_upserted  bigint NOT NULL,
    rows_deleted   bigint NOT NULL,
    max_kafka_at   timestamptz,
    committed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (generation, batch_id)
);
COMMENT ON TABLE ops.stream_batches IS
    'the ledger: a micro-batch counts if and only if its row is here; landing_path is relative to the landing folder';
CREATE TABLE ops.stream_progress (
    generation     integer NOT NULL,
    batch_id       bigint NOT NULL,
    observed_at    timestamptz NOT NULL DEFAULT now(),
    input_rows     bigint NOT NULL,
    durations_ms   jsonb NOT NULL,
    lag_records    jsonb NOT NULL,
    state          jsonb NOT NULL,
    PRIMARY KEY (generation, batch_id)
);
-- writer: the supervising operator of stream__sessionize
CREATE TABLE ops.stream_control (
    name           text PRIMARY KEY,
    driver_pid     integer,
    driver_started_at timestamptz,
    run_id         text,
    desired_state  text NOT NULL CHECK (desired_state IN ('running', 'stopped')),
    restarts       integer NOT NULL DEFAULT 0,
    updated_at     timestamptz NOT NULL DEFAULT now()
);
-- writer: events__archive
CREATE TABLE ops.archive_slices (
    slice_id       text PRIMARY KEY,
    run_id         text NOT NULL UNIQUE,
    position       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    topic          text NOT NULL,
    start_offsets  jsonb NOT NULL,
    end_offsets    jsonb NOT NULL,
    status         text NOT NULL CHECK (status IN ('recorded', 'staged', 'published', 'quarantined', 'discarded')),
    produced       bigint NOT NULL,
    archived       bigint,
    quarantined    bigint,
    dead_letters   bigint,
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    finished_at    timestamptz
);
-- writer: features__model; the cut that gate and dbt read up to
CREATE TABLE ops.model_cuts (
    cut_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id          text NOT NULL UNIQUE,
    generation      integer NOT NULL,
    ledger_position bigint NOT NULL,
    as_of           timestamptz NOT NULL,
    status          text NOT NULL CHECK (status IN ('open', 'published', 'rejected')),
    fixed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at    timestamptz
);
COMMENT ON COLUMN ops.model_cuts.as_of IS 'newest event time among final readings of the cut; ages and decays count from here';
-- writer: features__publish_batch
CREATE TABLE ops.publications (
    hive_table     text NOT NULL,
    partition_spec text NOT NULL,
    run_id         text NOT NULL,
    cut_id         bigint NOT NULL,
    location       text NOT NULL,
    row_count      bigint NOT NULL,
    published_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (hive_table, partition_spec, run_id)
);
-- writer: the gate operators
CREATE TABLE quality.gate_results (
    gate_result_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gate             text NOT NULL,
    dag_id           text NOT NULL,
    run_id           text NOT NULL,
    subject          text NOT NULL,
    expectation      text NOT NULL,
    column_name      text,
    severity         text NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    success          boolean NOT NULL,
    unexpected_count bigint,
    element_count    bigint,
    observed_value   jsonb,
    checked_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX gate_results_run ON quality.gate_results (run_id, gate);
CREATE TABLE quality.quarantine_slices (
    slice_id       text PRIMARY KEY,
    gate           text NOT NULL,
    run_id         text NOT NULL,
    row_count      bigint NOT NULL,
    failed_expectations text[] NOT NULL,
    status         text NOT NULL CHECK (status IN ('quarantined', 'released', 'discarded')),
    quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- writer: the stream
CREATE TABLE quality.late_events (
    topic            text NOT NULL,
    kafka_partition  integer NOT NULL,
    kafka_offset     bigint NOT NULL,
    session_id       text COLLATE "C" NOT NULL,
    event_id         text COLLATE "C" NOT NULL,
    event_time_ms    bigint NOT NULL,
    bucket_clock_ms  bigint NOT NULL,
    generation       integer NOT NULL,
    batch_id         bigint NOT NULL,
    PRIMARY KEY (generation, topic, kafka_partition, kafka_offset)
);
