-- What the Quix Streams application writes: the columns of realtime.session_features, times as epoch ms.
-- Only the primary key is indexed (ours keeps three more indexes), and nothing is checked.
CREATE SCHEMA quix;
CREATE TABLE quix.readings (
    session_id          text COLLATE "C",
    session_start_ms    bigint,
    episode_id          text COLLATE "C",
    user_id             text COLLATE "C",
    country             text COLLATE "C",
    device              text COLLATE "C",
    platform            text COLLATE "C",
    experiments         jsonb,
    ui_version          text,
    status              text,
    is_exit_tag         boolean,
    completion_rate     double precision,
    max_scroll_ratio    double precision,
    event_count         integer,
    scroll_event_count  integer,
    dwell_time_ms       bigint,
    started_at_ms       bigint,
    ended_at_ms         bigint,
    is_final            boolean,
    source_partition    integer,
    last_offset         bigint,
    last_event_kafka_ms bigint,
    is_removed          boolean,
    PRIMARY KEY (session_id, session_start_ms, episode_id)
) WITH (fillfactor = 70);
