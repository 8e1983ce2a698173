-- Events of erased readers: read, counted, and nothing else.
ALTER TABLE ops.stream_batches ADD COLUMN erased_events bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ops.stream_batches.erased_events IS
    'events of readers in ops.erasures: part of events, in no other count, in no row';
-- Whose a late event is: a session of which everything came late has no reading that would tell.
ALTER TABLE quality.late_events ADD COLUMN user_id text COLLATE "C";
COMMENT ON COLUMN quality.late_events.user_id IS 'NULL in rows that are older than this column';
