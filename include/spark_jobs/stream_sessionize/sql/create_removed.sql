-- keys of the rows whose session was re-keyed
CREATE TEMPORARY TABLE removed (
    session_id text COLLATE "C" NOT NULL,
    session_start_ms bigint NOT NULL,
    episode_id text COLLATE "C" NOT NULL
) ON COMMIT DELETE ROWS
