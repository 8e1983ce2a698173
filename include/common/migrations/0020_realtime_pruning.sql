-- realtime keeps what changed lately: ops__maintain asks, the stream, which is its only writer, removes.
CREATE TABLE ops.prune_requests (
    request_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generation     integer NOT NULL,
    changed_before timestamptz NOT NULL,
    up_to_position bigint NOT NULL,
    requested_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ops.prune_requests IS 'writer: ops__maintain; what the stream is asked to remove from realtime';
COMMENT ON COLUMN ops.prune_requests.changed_before IS 'rows whose committed_at is before this are to go';
COMMENT ON COLUMN ops.prune_requests.up_to_position IS
    'ledger position of the newest published cut: readings behind it are in no published mart yet and stay';

CREATE TABLE ops.prunings (
    request_id         bigint PRIMARY KEY REFERENCES ops.prune_requests (request_id),
    readings           bigint NOT NULL DEFAULT 0,
    readers            bigint NOT NULL DEFAULT 0,
    episodes           bigint NOT NULL DEFAULT 0,
    progress_rows      bigint NOT NULL DEFAULT 0,
    readings_pruned_at timestamptz,
    finished_at        timestamptz
);
COMMENT ON TABLE ops.prunings IS 'writer: the stream; how many rows of realtime and of ops.stream_progress it has removed';
COMMENT ON COLUMN ops.prunings.readings_pruned_at IS
    'when readings were last removed: a cut that was fixed before cannot be the base of another (docs/adr/0030)';
COMMENT ON COLUMN ops.prunings.finished_at IS 'NULL while the stream is at it';
