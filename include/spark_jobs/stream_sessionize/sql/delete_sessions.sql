DELETE FROM realtime.session_features AS stored
USING pg_temp.removed AS removed
WHERE
    stored.session_id = removed.session_id
    AND stored.session_start_ms = removed.session_start_ms
    AND stored.episode_id = removed.episode_id
