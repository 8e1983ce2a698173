-- What users and episodes add up to, recomputed from all readings at once instead of folded.
CREATE TEMPORARY TABLE oracle_users AS
SELECT
    user_id,
    count(*) FILTER (WHERE status = 'active') AS readings_active,
    count(*) FILTER (WHERE status <> 'active') AS readings_closed,
    count(*) FILTER (WHERE status = 'completed') AS readings_completed,
    count(*) FILTER (WHERE status IN ('exited', 'timed_out')) AS readings_exited,
    coalesce(sum(round(completion_rate * 1000000)::bigint) FILTER (WHERE status <> 'active'), 0)::bigint
        AS completion_ppm_sum,
    coalesce(sum(scroll_event_count) FILTER (WHERE status <> 'active'), 0)::bigint AS scroll_event_sum,
    coalesce(sum(dwell_time_ms) FILTER (WHERE status <> 'active'), 0)::bigint AS dwell_time_ms_sum,
    max(ended_at) AS last_read_at,
    (array_agg(episode_id ORDER BY ended_at DESC, episode_id COLLATE "C" DESC))[1] AS last_episode_id,
    max(last_event_kafka_at) AS last_event_kafka_at
FROM oracle_readings
GROUP BY user_id;

CREATE TEMPORARY TABLE oracle_episodes AS
SELECT
    episode_id,
    count(*) FILTER (WHERE status = 'active') AS readings_active,
    count(*) FILTER (WHERE status <> 'active') AS readings_closed,
    count(*) FILTER (WHERE status = 'completed') AS readings_completed,
    count(*) FILTER (WHERE status IN ('exited', 'timed_out')) AS readings_exited,
    count(*) FILTER (WHERE status <> 'active' AND max_scroll_ratio IS NOT NULL) AS readings_with_scroll,
    coalesce(sum(round(completion_rate * 1000000)::bigint) FILTER (WHERE status <> 'active'), 0)::bigint
        AS completion_ppm_sum,
    coalesce(sum(round(max_scroll_ratio * 1000000)::bigint) FILTER (WHERE status <> 'active'), 0)::bigint
        AS scroll_ppm_sum,
    coalesce(sum(scroll_event_count) FILTER (WHERE status <> 'active'), 0)::bigint AS scroll_event_sum,
    coalesce(sum(dwell_time_ms) FILTER (WHERE status <> 'active'), 0)::bigint AS dwell_time_ms_sum,
    max(ended_at) AS last_read_at,
    max(last_event_kafka_at) AS last_event_kafka_at
FROM oracle_readings
GROUP BY episode_id;

CREATE TEMPORARY TABLE oracle_late AS
SELECT kafka_partition, kafka_offset, session_id, event_id, timestamp_ms AS event_time_ms, bucket_clock_ms
FROM oracle_classified
WHERE is_late;
