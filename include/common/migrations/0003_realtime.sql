-- One row a reading: one episode inside one session. Identity (session_id, session_start_ms, episode_id).
CREATE TABLE realtime.session_features (
    session_id         text COLLATE "C" NOT NULL,
    session_start_ms   bigint NOT NULL,
    episode_id         text COLLATE "C" NOT NULL,
    user_id            text COLLATE "C" NOT NULL,
    country            text COLLATE "C" NOT NULL,
    device             text COLLATE "C" NOT NULL,
    platform           text COLLATE "C" NOT NULL,
    experiments        jsonb NOT NULL DEFAULT '{}',
    ui_version         text,
    status             text NOT NULL CHECK (status IN ('active', 'completed', 'exited', 'timed_out')),
    is_exit_tag        boolean,
    completion_rate    double precision NOT NULL CHECK (completion_rate BETWEEN 0 AND 1),
    max_scroll_ratio   double precision CHECK (max_scroll_ratio BETWEEN 0 AND 1),
    event_count        integer NOT NULL CHECK (event_count > 0),
    scroll_event_count integer NOT NULL,
    dwell_time_ms      bigint NOT NULL CHECK (dwell_time_ms >= 0),
    started_at         timestamptz NOT NULL,
    ended_at           timestamptz NOT NULL,
    is_final           boolean NOT NULL,
    source_partition   integer NOT NULL,
    last_offset        bigint NOT NULL,
    last_event_kafka_at timestamptz NOT NULL,
    generation         integer NOT NULL,
    batch_id           bigint NOT NULL,
    ledger_position    bigint NOT NULL,
    committed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (session_id, session_start_ms, episode_id),
    CHECK (ended_at >= started_at),
    CHECK ((status = 'active') = (is_exit_tag IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX session_features_user ON realtime.session_features (user_id);
CREATE INDEX session_features_episode ON realtime.session_features (episode_id);
CREATE INDEX session_features_final_position ON realtime.session_features (ledger_position) WHERE is_final;
COMMENT ON COLUMN realtime.session_features.is_final IS
    'the session can no longer change: the row is never written again, so a cut at a ledger position is stable';
COMMENT ON COLUMN realtime.session_features.ledger_position IS
    'ops.stream_batches.position of the micro-batch that last changed this row';
COMMENT ON COLUMN realtime.session_features.last_event_kafka_at IS
    'Kafka timestamp of the newest event that counts in this row; freshness = committed_at - this';

-- Folded from session_features by integer differences; rates count closed readings only.
CREATE TABLE realtime.user_features (
    user_id             text COLLATE "C" PRIMARY KEY,
    readings_active     bigint NOT NULL,
    readings_closed     bigint NOT NULL,
    readings_completed  bigint NOT NULL,
    readings_exited     bigint NOT NULL,
    completion_ppm_sum  bigint NOT NULL,
    scroll_event_sum    bigint NOT NULL,
    dwell_time_ms_sum   bigint NOT NULL,
    last_read_at        timestamptz NOT NULL,
    last_episode_id     text COLLATE "C" NOT NULL,
    last_event_kafka_at timestamptz NOT NULL,
    generation          integer NOT NULL,
    batch_id            bigint NOT NULL,
    committed_at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
COMMENT ON COLUMN realtime.user_features.readings_exited IS 'closed readings with is_exit_tag (exited or timed out)';
COMMENT ON COLUMN realtime.user_features.completion_ppm_sum IS
    'sum over closed readings of completion_rate in parts per million, half to even';

CREATE TABLE realtime.episode_features (
    episode_id          text COLLATE "C" PRIMARY KEY,
    readings_active     bigint NOT NULL,
    readings_closed     bigint NOT NULL,
    readings_completed  bigint NOT NULL,
    readings_exited     bigint NOT NULL,
    readings_with_scroll bigint NOT NULL,
    completion_ppm_sum  bigint NOT NULL,
    scroll_ppm_sum      bigint NOT NULL,
    scroll_event_sum    bigint NOT NULL,
    dwell_time_ms_sum   bigint NOT NULL,
    last_read_at        timestamptz NOT NULL,
    last_event_kafka_at timestamptz NOT NULL,
    generation          integer NOT NULL,
    batch_id            bigint NOT NULL,
    committed_at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
COMMENT ON COLUMN realtime.episode_features.scroll_ppm_sum IS
    'sum over closed readings that carry a ratio of max_scroll_ratio in parts per million, half to even';
