-- $1 generation, $2 batch_id. Adds what the micro-batch changes: new rows less old rows, as integers.
-- Rates count closed readings only. round(double precision) halves to even: ratios in parts per million.
WITH signed AS (
    SELECT
        user_id, episode_id, status, is_exit_tag, completion_rate, scroll_event_count, dwell_time_ms,
        ended_at, last_event_kafka_at, 1 AS sign
    FROM pg_temp.staged
    UNION ALL
    SELECT
        user_id, episode_id, status, is_exit_tag, completion_rate, scroll_event_count, dwell_time_ms,
        NULL, NULL, -1
    FROM pg_temp.old_rows
),

difference AS (
    SELECT
        user_id,
        sum(sign) FILTER (WHERE status = 'active') AS active,
        sum(sign) FILTER (WHERE status <> 'active') AS closed,
        sum(sign) FILTER (WHERE status = 'completed') AS completed,
        sum(sign) FILTER (WHERE is_exit_tag) AS exited,
        sum(sign * round(completion_rate * 1000000)::bigint) FILTER (WHERE status <> 'active') AS completion_ppm,
        sum(sign * scroll_event_count) FILTER (WHERE status <> 'active') AS scrolls,
        sum(sign * dwell_time_ms) FILTER (WHERE status <> 'active') AS dwell_ms,
        max(ended_at) AS last_read_at,
        (array_agg(episode_id ORDER BY ended_at DESC NULLS LAST, episode_id DESC))[1] AS last_episode_id,
        max(last_event_kafka_at) AS last_event_kafka_at
    FROM signed
    GROUP BY user_id
)

INSERT INTO realtime.user_features AS stored (
    user_id, readings_active, readings_closed, readings_completed, readings_exited, completion_ppm_sum,
    scroll_event_sum, dwell_time_ms_sum, last_read_at, last_episode_id, last_event_kafka_at, generation, batch_id
)
SELECT
    user_id, coalesce(active, 0), coalesce(closed, 0), coalesce(completed, 0), coalesce(exited, 0),
    coalesce(completion_ppm, 0), coalesce(scrolls, 0), coalesce(dwell_ms, 0),
    coalesce(last_read_at, '-infinity'), last_episode_id, coalesce(last_event_kafka_at, '-infinity'),
    $1::integer, $2::bigint
FROM difference
ON CONFLICT (user_id) DO UPDATE SET
    readings_active = stored.readings_active + excluded.readings_active,
    readings_closed = stored.readings_closed + excluded.readings_closed,
    readings_completed = stored.readings_completed + excluded.readings_completed,
    readings_exited = stored.readings_exited + excluded.readings_exited,
    completion_ppm_sum = stored.completion_ppm_sum + excluded.completion_ppm_sum,
    scroll_event_sum = stored.scroll_event_sum + excluded.scroll_event_sum,
    dwell_time_ms_sum = stored.dwell_time_ms_sum + excluded.dwell_time_ms_sum,
    last_episode_id = CASE
        WHEN (excluded.last_read_at, excluded.last_episode_id) > (stored.last_read_at, stored.last_episode_id)
            THEN excluded.last_episode_id
        ELSE stored.last_episode_id
    END,
    last_read_at = greatest(stored.last_read_at, excluded.last_read_at),
    last_event_kafka_at = greatest(stored.last_event_kafka_at, excluded.last_event_kafka_at),
    generation = excluded.generation,
    batch_id = excluded.batch_id,
    committed_at = excluded.committed_at
