INSERT INTO pg_temp.old_rows
SELECT
    stored.user_id,
    stored.episode_id,
    stored.status,
    stored.is_exit_tag,
    stored.completion_rate,
    stored.max_scroll_ratio,
    stored.scroll_event_count,
    stored.dwell_time_ms,
    stored.ended_at,
    stored.last_event_kafka_at,
    -- or ends earlier, as what a reader who is forgotten shared does: maxima may be lost either way
    coalesce(
        touched.new_user_id <> stored.user_id
        OR touched.ended_at < stored.ended_at
        OR touched.last_event_kafka_at < stored.last_event_kafka_at,
        TRUE
    ) AS leaves_user,
    coalesce(
        touched.ended_at < stored.ended_at
        OR touched.last_event_kafka_at < stored.last_event_kafka_at,
        TRUE
    ) AS leaves_episode
FROM (
    SELECT session_id, session_start_ms, episode_id, user_id AS new_user_id, ended_at, last_event_kafka_at FROM pg_temp.staged
    UNION ALL
    SELECT session_id, session_start_ms, episode_id, NULL, NULL, NULL FROM pg_temp.removed
) AS touched
INNER JOIN realtime.session_features AS stored USING (session_id, session_start_ms, episode_id)
