-- How old the oldest event of a micro-batch was when it was committed, and how far the bucket clocks have come.
ALTER TABLE ops.stream_batches ADD COLUMN min_kafka_at timestamptz;
COMMENT ON COLUMN ops.stream_batches.min_kafka_at IS
    'Kafka timestamp of its oldest record; committed_at - this is the worst freshness in the micro-batch';
-- The last minutes of a ledger of weeks: it grows in the order of this column.
CREATE INDEX stream_batches_committed ON ops.stream_batches USING brin (committed_at) WITH (pages_per_range = 16);
ALTER TABLE ops.stream_progress
    ADD COLUMN low_clock_at  timestamptz,
    ADD COLUMN high_clock_at timestamptz;
COMMENT ON COLUMN ops.stream_progress.low_clock_at IS
    'watermark: lowest clock (largest accepted event time) of the buckets that the driver has seen since its start';
COMMENT ON COLUMN ops.stream_progress.high_clock_at IS 'highest of those clocks';
