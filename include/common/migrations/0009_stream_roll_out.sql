-- A new generation of the stream fills realtime_shadow beside the current one, and is swapped in or dropped.
CREATE SCHEMA realtime_shadow;
CREATE SCHEMA realtime_retired;
COMMENT ON SCHEMA realtime_shadow IS
    'writer: the stream (driver of the shadow generation); tables made and moved by stream__roll_out';
COMMENT ON SCHEMA realtime_retired IS
    'nobody writes: rows of the generation before the current one, kept by stream__roll_out for the way back';
ALTER TABLE ops.stream_generations
    DROP CONSTRAINT stream_generations_status_check,
    ADD CONSTRAINT stream_generations_status_check CHECK (status IN ('current', 'shadow', 'retired', 'dropped')),
    ADD COLUMN status_since timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN run_id text;
CREATE UNIQUE INDEX stream_generations_one_shadow ON ops.stream_generations (status) WHERE status = 'shadow';
CREATE UNIQUE INDEX stream_generations_one_retired ON ops.stream_generations (status) WHERE status = 'retired';
COMMENT ON COLUMN ops.stream_generations.status IS
    'current fills realtime, shadow fills realtime_shadow, retired is in realtime_retired, of dropped only the ledger is left';
COMMENT ON COLUMN ops.stream_generations.run_id IS 'run of stream__roll_out that began it; NULL for the first';
COMMENT ON COLUMN ops.stream_generations.rules IS
    'what is fixed in it: buckets, state partitions, session rules, start offsets; publish_from_ms: sessions that began before are rows of its predecessor, copied';
-- Row difference of a shadow or retired generation to the current one, as shown to whoever decides.
CREATE TABLE ops.roll_out_comparisons (
    run_id         text NOT NULL,
    generation     integer NOT NULL REFERENCES ops.stream_generations,
    table_name     text NOT NULL,
    rows_equal     bigint NOT NULL,
    only_current   bigint NOT NULL,
    only_candidate bigint NOT NULL,
    differing      bigint NOT NULL,
    in_motion      bigint NOT NULL,
    differing_by_column jsonb NOT NULL,
    samples        jsonb NOT NULL,
    compared_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, table_name)
);
COMMENT ON TABLE ops.roll_out_comparisons IS 'writer: stream__roll_out';
COMMENT ON COLUMN ops.roll_out_comparisons.in_motion IS
    'rows of sessions with events that only one side has read yet, or that only one side has closed yet: not compared';
COMMENT ON COLUMN ops.roll_out_comparisons.samples IS 'some differing rows, without personal ids';
