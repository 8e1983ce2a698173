-- $1 generation, $2 the point: epoch ms.
-- See copy_users.sql.
WITH recomputed AS (
    SELECT
        episode_id,
        count(*) FILTER (WHERE status = 'active') AS readings_active,
        count(*) FILTER (WHERE status <> 'active') AS readings_closed,
        count(*) FILTER (WHERE status = 'completed') AS readings_completed,
        count(*) FILTER (WHERE is_exit_tag) AS readings_exited,
        count(*) FILTER (WHERE status <> 'active' AND max_scroll_ratio IS NOT NULL) AS readings_with_scroll,
        coalesce(sum(round(completion_rate * 1000000)::bigint) FILTER (WHERE status <> 'active'), 0) AS completion_ppm_sum,
        coalesce(sum(round(max_scroll_ratio * 1000000)::bigint) FILTER (WHERE status <> 'active'), 0) AS scroll_ppm_sum,
        coalesce(sum(scroll_event_count) FILTER (WHERE status <> 'active'), 0) AS scroll_event_sum,
        coalesce(sum(dwell_time_ms) FILTER (WHERE status <> 'active'), 0) AS dwell_time_ms_sum
    FROM realtime.session_features
    WHERE session_start_ms >= $2::bigint
    GROUP BY episode_id
),

copied AS (
    SELECT
        episode_id,
        max(ended_at) AS last_read_at,
        max(last_event_kafka_at) AS last_event_kafka_at
    FROM realtime.session_features
    WHERE session_start_ms < $2::bigint
    GROUP BY episode_id
)

INSERT INTO realtime_shadow.episode_features (
    episode_id, readings_active, readings_closed, readings_completed, readings_exited, readings_with_scroll,
    completion_ppm_sum, scroll_ppm_sum, scroll_event_sum, dwell_time_ms_sum, last_read_at, last_event_kafka_at,
    generation, batch_id, committed_at
)
SELECT
    e.episode_id,
    e.readings_active - coalesce(r.readings_active, 0),
    e.readings_closed - coalesce(r.readings_closed, 0),
    e.readings_completed - coalesce(r.readings_completed, 0),
    e.readings_exited - coalesce(r.readings_exited, 0),
    e.readings_with_scroll - coalesce(r.readings_with_scroll, 0),
    e.completion_ppm_sum - coalesce(r.completion_ppm_sum, 0),
    e.scroll_ppm_sum - coalesce(r.scroll_ppm_sum, 0),
    e.scroll_event_sum - coalesce(r.scroll_event_sum, 0),
    e.dwell_time_ms_sum - coalesce(r.dwell_time_ms_sum, 0),
    CASE WHEN r.episode_id IS NULL THEN e.last_read_at ELSE coalesce(c.last_read_at, '-infinity') END,
    CASE WHEN r.episode_id IS NULL THEN e.last_event_kafka_at ELSE coalesce(c.last_event_kafka_at, '-infinity') END,
    $1::integer,
    -1,
    e.committed_at
FROM realtime.episode_features AS e
LEFT JOIN recomputed AS r ON e.episode_id = r.episode_id
LEFT JOIN copied AS c ON e.episode_id = c.episode_id
WHERE e.readings_active + e.readings_closed > coalesce(r.readings_active + r.readings_closed, 0)
