-- $1 generation, $2 the point: epoch ms.
-- Sums of the copied readings: the current sums less the readings that the new generation recomputes itself. So what
-- a sum keeps of readings that were pruned is kept. A maximum does not subtract: it is looked up among the copied.
WITH recomputed AS (
    SELECT
        user_id,
        count(*) FILTER (WHERE status = 'active') AS readings_active,
        count(*) FILTER (WHERE status <> 'active') AS readings_closed,
        count(*) FILTER (WHERE status = 'completed') AS readings_completed,
        count(*) FILTER (WHERE is_exit_tag) AS readings_exited,
        coalesce(sum(round(completion_rate * 1000000)::bigint) FILTER (WHERE status <> 'active'), 0) AS completion_ppm_sum,
        coalesce(sum(scroll_event_count) FILTER (WHERE status <> 'active'), 0) AS scroll_event_sum,
        coalesce(sum(dwell_time_ms) FILTER (WHERE status <> 'active'), 0) AS dwell_time_ms_sum
    FROM realtime.session_features
    WHERE session_start_ms >= $2::bigint
    GROUP BY user_id
),

copied AS (
    SELECT
        user_id,
        max(ended_at) AS last_read_at,
        (array_agg(episode_id ORDER BY ended_at DESC, episode_id DESC))[1] AS last_episode_id,
        max(last_event_kafka_at) AS last_event_kafka_at
    FROM realtime.session_features
    WHERE session_start_ms < $2::bigint
    GROUP BY user_id
)

INSERT INTO realtime_shadow.user_features (
    user_id, readings_active, readings_closed, readings_completed, readings_exited, completion_ppm_sum,
    scroll_event_sum, dwell_time_ms_sum, last_read_at, last_episode_id, last_event_kafka_at, generation, batch_id,
    committed_at
)
SELECT
    u.user_id,
    u.readings_active - coalesce(r.readings_active, 0),
    u.readings_closed - coalesce(r.readings_closed, 0),
    u.readings_completed - coalesce(r.readings_completed, 0),
    u.readings_exited - coalesce(r.readings_exited, 0),
    u.completion_ppm_sum - coalesce(r.completion_ppm_sum, 0),
    u.scroll_event_sum - coalesce(r.scroll_event_sum, 0),
    u.dwell_time_ms_sum - coalesce(r.dwell_time_ms_sum, 0),
    CASE WHEN r.user_id IS NULL THEN u.last_read_at ELSE coalesce(c.last_read_at, '-infinity') END,
    CASE WHEN r.user_id IS NULL THEN u.last_episode_id ELSE coalesce(c.last_episode_id, u.last_episode_id) END,
    CASE WHEN r.user_id IS NULL THEN u.last_event_kafka_at ELSE coalesce(c.last_event_kafka_at, '-infinity') END,
    $1::integer,
    -1,
    u.committed_at
FROM realtime.user_features AS u
LEFT JOIN recomputed AS r ON u.user_id = r.user_id
LEFT JOIN copied AS c ON u.user_id = c.user_id
WHERE u.readings_active + u.readings_closed > coalesce(r.readings_active + r.readings_closed, 0)
