-- The readings that began on the day, of sessions that the generation publishes. Times of rows in microseconds.
CREATE OR REPLACE TEMPORARY TABLE session_events AS
SELECT
    placed.*,
    row_number() OVER in_session AS place,
    lead(timestamp_ms) OVER in_session - timestamp_ms AS pause_ms
FROM (
    SELECT
        event.line,
        event.kafka_offset,
        event.kafka_ms,
        event.bucket,
        event.clock_ms,
        event.event_id,
        event.episode_id,
        event.event_type,
        event.timestamp_ms,
        event.scroll_ratio,
        sessions.start_ms,
        sessions.run_start_ms
    FROM line_events AS event
    ASOF INNER JOIN line_sessions AS sessions
        ON event.line = sessions.line AND event.timestamp_ms >= sessions.start_ms
) AS placed
WINDOW in_session AS (PARTITION BY line, start_ms ORDER BY timestamp_ms, event_id);

CREATE OR REPLACE TEMPORARY TABLE sessions AS
WITH last_clocks AS (
    SELECT bucket, max(timestamp_ms) AS last_clock_ms FROM clocks WHERE is_accepted GROUP BY bucket
)

SELECT
    seen.line,
    seen.start_ms,
    any_value(seen.run_start_ms) AS run_start_ms,
    -- an unknown clock is below the window
    min(coalesce(seen.clock_ms, rules.window_from_ms - 1)) AS lowest_clock_ms,
    max(seen.timestamp_ms) + any_value(rules.gap_ms)
    < any_value(last_clocks.last_clock_ms) - any_value(rules.lateness_ms) AS is_final
FROM session_events AS seen
CROSS JOIN rules
INNER JOIN last_clocks ON seen.bucket = last_clocks.bucket
GROUP BY seen.line, seen.start_ms;

CREATE OR REPLACE TEMPORARY TABLE readings AS
WITH facts AS (
    SELECT
        seen.line,
        seen.start_ms,
        seen.episode_id,
        arg_min(seen.kafka_offset, seen.place) AS first_offset,
        bool_or(seen.event_type = 'complete') AS has_completed,
        arg_max(seen.event_type, seen.place) = 'exit' AS ends_with_exit,
        max(seen.scroll_ratio) AS max_scroll_ratio,
        count(*) AS event_count,
        count(*) FILTER (WHERE seen.event_type = 'scroll') AS scroll_event_count,
        -- least() passes over NULL, so the session's last event (no pause) is left out by hand
        coalesce(
            sum(least(seen.pause_ms, rules.dwell_cap_ms))
            FILTER (WHERE seen.event_type <> 'exit' AND seen.pause_ms IS NOT NULL),
            0
        ) AS dwell_time_ms,
        min(seen.timestamp_ms) AS started_ms,
        max(seen.timestamp_ms) AS ended_ms,
        max(seen.kafka_offset) AS last_offset,
        max(seen.kafka_ms) AS last_kafka_ms
    FROM session_events AS seen
    CROSS JOIN rules
    GROUP BY seen.line, seen.start_ms, seen.episode_id
)

SELECT
    earliest.session_id,
    facts.start_ms AS session_start_ms,
    facts.episode_id,
    earliest.user_id,
    earliest.country,
    earliest.device,
    earliest.platform,
    coalesce(earliest.experiments, map()) AS experiments,
    earliest.ui_version,
    CASE
        WHEN facts.has_completed THEN 'completed'
        WHEN facts.ends_with_exit THEN 'exited'
        ELSE 'timed_out'
    END AS status,
    NOT facts.has_completed AS is_exit_tag,
    CASE WHEN facts.has_completed THEN 1.0 ELSE coalesce(facts.max_scroll_ratio, 0.0) END AS completion_rate,
    facts.max_scroll_ratio,
    facts.event_count,
    facts.scroll_event_count,
    facts.dwell_time_ms::bigint AS dwell_time_ms,
    facts.started_ms * 1000 AS started_at,
    facts.ended_ms * 1000 AS ended_at,
    earliest.kafka_partition AS source_partition,
    facts.last_offset,
    facts.last_kafka_ms * 1000 AS last_event_kafka_at,
    rules.generation,
    sessions.is_final,
    sessions.run_start_ms,
    sessions.lowest_clock_ms
FROM facts
CROSS JOIN rules
INNER JOIN line_events AS earliest ON facts.line = earliest.line AND facts.first_offset = earliest.kafka_offset
INNER JOIN sessions ON facts.line = sessions.line AND facts.start_ms = sessions.start_ms
WHERE
    facts.started_ms >= rules.day_from_ms
    AND facts.started_ms < rules.day_to_ms
    AND facts.start_ms >= rules.span_from_ms
    AND facts.start_ms < rules.span_to_ms;
