-- Events of erased readers: read, counted, and nothing else.
ALTER TABLE ops.stream_batches ADD COLUMN erased_events bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ops.stream_batches.erased_events IS
    'events of readers in ops.erasures: part of events, in no other count, in no row';
