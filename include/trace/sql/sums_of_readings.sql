-- What the stream's folded sums must be, from the readings themselves. Rates in parts per million, half to even.
SELECT
    count(*) FILTER (WHERE status = 'active') AS readings_active,
    count(*) FILTER (WHERE status <> 'active') AS readings_closed,
    count(*) FILTER (WHERE status = 'completed') AS readings_completed,
    count(*) FILTER (WHERE is_exit_tag) AS readings_exited,
    count(*) FILTER (WHERE status <> 'active' AND max_scroll_ratio IS NOT NULL) AS readings_with_scroll,
    coalesce(sum(round(completion_rate * 1000000)) FILTER (WHERE status <> 'active'), 0) AS completion_ppm_sum,
    coalesce(sum(round(max_scroll_ratio * 1000000)) FILTER (WHERE status <> 'active'), 0) AS scroll_ppm_sum,
    coalesce(sum(scroll_event_count) FILTER (WHERE status <> 'active'), 0) AS scroll_event_sum,
    coalesce(sum(dwell_time_ms) FILTER (WHERE status <> 'active'), 0) AS dwell_time_ms_sum,
    max(ended_at) AS last_read_at,
    (array_agg(episode_id ORDER BY ended_at DESC, episode_id DESC))[1] AS last_episode_id,
    max(last_event_kafka_at) AS last_event_kafka_at
FROM readings
