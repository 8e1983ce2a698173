-- stored rows that the micro-batch replaces or removes, as they were before it
CREATE TEMPORARY TABLE old_rows (
    user_id text COLLATE "C" NOT NULL,
    episode_id text COLLATE "C" NOT NULL,
    status text NOT NULL,
    is_exit_tag boolean,
    completion_rate double precision NOT NULL,
    max_scroll_ratio double precision,
    scroll_event_count integer NOT NULL,
    dwell_time_ms bigint NOT NULL,
    ended_at timestamptz NOT NULL,
    last_event_kafka_at timestamptz NOT NULL,
    leaves_user boolean NOT NULL,
    leaves_episode boolean NOT NULL
) ON COMMIT DELETE ROWS
