-- Rows of realtime.session_features and what Quix Streams wrote: how many in each, how many differ in any column.
-- Sessions that fell silent are over: a reading of theirs that is neither completed nor exited has timed out. Ours
-- writes that; Quix Streams hears of no silence of a key, so here it is said when the rows are read.
WITH newest AS (
    SELECT
        source_partition,
        max(ended_at_ms) AS clock_ms
    FROM quix.readings WHERE NOT is_removed GROUP BY source_partition
),
session_ends AS (
    SELECT
        session_id,
        session_start_ms,
        max(ended_at_ms) AS ended_at_ms
    FROM quix.readings WHERE NOT is_removed GROUP BY session_id, session_start_ms
),
theirs AS (
    SELECT
        session_id, session_start_ms, episode_id, user_id, country, device, platform, experiments, ui_version,
        CASE WHEN status = 'active' AND is_over THEN 'timed_out' ELSE status END AS status,
        CASE WHEN status IN ('active', 'timed_out') AND is_over THEN TRUE ELSE is_exit_tag END AS is_exit_tag,
        completion_rate, max_scroll_ratio, event_count, scroll_event_count, dwell_time_ms,
        readings.started_at_ms, readings.ended_at_ms, is_over AS is_final, source_partition, last_offset,
        last_event_kafka_ms
    FROM quix.readings
    INNER JOIN session_ends AS s USING (session_id, session_start_ms)
    INNER JOIN newest USING (source_partition)
    CROSS JOIN LATERAL (SELECT s.ended_at_ms + %(over_after_ms)s < clock_ms AS is_over) AS over_by_now
    WHERE NOT is_removed
),
ours AS (
    SELECT
        session_id, session_start_ms, episode_id, user_id, country, device, platform, experiments, ui_version, status,
        is_exit_tag, completion_rate, max_scroll_ratio, event_count, scroll_event_count, dwell_time_ms,
        (extract(EPOCH FROM started_at) * 1000)::bigint AS started_at_ms,
        (extract(EPOCH FROM ended_at) * 1000)::bigint AS ended_at_ms,
        is_final, source_partition, last_offset,
        (extract(EPOCH FROM last_event_kafka_at) * 1000)::bigint AS last_event_kafka_ms
    FROM realtime.session_features
)
SELECT
    count(ours),
    count(theirs),
    count(*) FILTER (WHERE ours IS DISTINCT FROM theirs)
FROM ours
FULL OUTER JOIN theirs USING (session_id, session_start_ms, episode_id)
