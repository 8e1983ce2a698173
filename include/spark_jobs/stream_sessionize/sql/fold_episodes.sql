-- $1 generation, $2 batch_id. See fold_users.sql.
WITH signed AS (
    SELECT
        episode_id, status, is_exit_tag, completion_rate, max_scroll_ratio, scroll_event_count, dwell_time_ms,
        ended_at, last_event_kafka_at, 1 AS sign
    FROM pg_temp.staged
    UNION ALL
    SELECT
        episode_id, status, is_exit_tag, completion_rate, max_scroll_ratio, scroll_event_count, dwell_time_ms,
        NULL, NULL, -1
    FROM pg_temp.old_rows
),

difference AS (
    SELECT
        episode_id,
        sum(sign) FILTER (WHERE status = 'active') AS active,
        sum(sign) FILTER (WHERE status <> 'active') AS closed,
        sum(sign) FILTER (WHERE status = 'completed') AS completed,
        sum(sign) FILTER (WHERE is_exit_tag) AS exited,
        sum(sign) FILTER (WHERE status <> 'active' AND max_scroll_ratio IS NOT NULL) AS with_scroll,
        sum(sign * round(completion_rate * 1000000)::bigint) FILTER (WHERE status <> 'active') AS completion_ppm,
        sum(sign * round(max_scroll_ratio * 1000000)::bigint) FILTER (WHERE status <> 'active') AS scroll_ppm,
        sum(sign * scroll_event_count) FILTER (WHERE status <> 'active') AS scrolls,
        sum(sign * dwell_time_ms) FILTER (WHERE status <> 'active') AS dwell_ms,
        max(ended_at) AS last_read_at,
        max(last_event_kafka_at) AS last_event_kafka_at
    FROM signed
    GROUP BY episode_id
)

INSERT INTO realtime.episode_features AS stored (
    episode_id, readings_active, readings_closed, readings_completed, readings_exited, readings_with_scroll,
    completion_ppm_sum, scroll_ppm_sum, scroll_event_sum, dwell_time_ms_sum, last_read_at, last_event_kafka_at,
    generation, batch_id
)
SELECT
    episode_id, coalesce(active, 0), coalesce(closed, 0), coalesce(completed, 0), coalesce(exited, 0),
    coalesce(with_scroll, 0), coalesce(completion_ppm, 0), coalesce(scroll_ppm, 0), coalesce(scrolls, 0),
    coalesce(dwell_ms, 0), coalesce(last_read_at, '-infinity'), coalesce(last_event_kafka_at, '-infinity'),
    $1::integer, $2::bigint
FROM difference
ON CONFLICT (episode_id) DO UPDATE SET
    readings_active = stored.readings_active + excluded.readings_active,
    readings_closed = stored.readings_closed + excluded.readings_closed,
    readings_completed = stored.readings_completed + excluded.readings_completed,
    readings_exited = stored.readings_exited + excluded.readings_exited,
    readings_with_scroll = stored.readings_with_scroll + excluded.readings_with_scroll,
    completion_ppm_sum = stored.completion_ppm_sum + excluded.completion_ppm_sum,
    scroll_ppm_sum = stored.scroll_ppm_sum + excluded.scroll_ppm_sum,
    scroll_event_sum = stored.scroll_event_sum + excluded.scroll_event_sum,
    dwell_time_ms_sum = stored.dwell_time_ms_sum + excluded.dwell_time_ms_sum,
    last_read_at = greatest(stored.last_read_at, excluded.last_read_at),
    last_event_kafka_at = greatest(stored.last_event_kafka_at, excluded.last_event_kafka_at),
    generation = excluded.generation,
    batch_id = excluded.batch_id,
    committed_at = excluded.committed_at
