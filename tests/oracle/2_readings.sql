-- Sessions and readings of the accepted events, from nothing but section 4's words and window functions.
CREATE TEMPORARY TABLE oracle_runs AS
SELECT
    *,
    count(*) FILTER (WHERE starts_run) OVER (
        PARTITION BY kafka_partition, session_id ORDER BY timestamp_ms, event_id COLLATE "C"
    ) AS run
FROM (
    SELECT
        oracle_classified.*,
        coalesce(
            timestamp_ms - lag(timestamp_ms) OVER (
                PARTITION BY kafka_partition, session_id ORDER BY timestamp_ms, event_id COLLATE "C"
            ) > gap_ms,
            TRUE
        ) AS starts_run
    FROM oracle_classified
    CROSS JOIN pg_temp.oracle_rules
    WHERE NOT is_repeat AND NOT is_late
) AS marked;

CREATE INDEX ON oracle_runs (session_id, kafka_partition, run, timestamp_ms);

-- a run longer than the maximum is cut at the first event beyond it, counted from each start anew
CREATE TEMPORARY TABLE oracle_starts AS
WITH RECURSIVE starts AS (
    SELECT kafka_partition, session_id, run, min(timestamp_ms) AS start_ms
    FROM oracle_runs
    GROUP BY kafka_partition, session_id, run
    UNION ALL
    SELECT starts.kafka_partition, starts.session_id, starts.run, beyond.start_ms
    FROM starts
    CROSS JOIN pg_temp.oracle_rules
    CROSS JOIN LATERAL (
        SELECT min(oracle_runs.timestamp_ms) AS start_ms
        FROM oracle_runs
        WHERE
            oracle_runs.session_id = starts.session_id
            AND oracle_runs.kafka_partition = starts.kafka_partition
            AND oracle_runs.run = starts.run
            AND oracle_runs.timestamp_ms > starts.start_ms + oracle_rules.max_length_ms
    ) AS beyond
    WHERE beyond.start_ms IS NOT NULL
)

SELECT
    starts.*,
    lead(starts.start_ms) OVER (
        PARTITION BY starts.kafka_partition, starts.session_id, starts.run ORDER BY starts.start_ms
    ) AS next_start_ms
FROM starts;

CREATE TEMPORARY TABLE oracle_session_events AS
SELECT
    oracle_runs.*,
    start_ms,
    lead(timestamp_ms) OVER in_session - timestamp_ms AS pause_ms,
    first_value(timestamp_ms) OVER (PARTITION BY kafka_partition, session_id, start_ms ORDER BY timestamp_ms DESC)
        AS session_last_ms,
    max(kafka_ms) OVER (PARTITION BY kafka_partition, session_id, start_ms) AS session_last_kafka_ms,
    row_number() OVER (
        PARTITION BY kafka_partition, session_id, start_ms, episode_id ORDER BY timestamp_ms, event_id COLLATE "C"
    ) AS nth,
    row_number() OVER (
        PARTITION BY kafka_partition, session_id, start_ms, episode_id
        ORDER BY timestamp_ms DESC, event_id COLLATE "C" DESC
    ) AS nth_last
FROM oracle_runs
INNER JOIN oracle_starts USING (kafka_partition, session_id, run)
WHERE timestamp_ms >= start_ms AND (next_start_ms IS NULL OR timestamp_ms < next_start_ms)
WINDOW in_session AS (
    PARTITION BY kafka_partition, session_id, start_ms ORDER BY timestamp_ms, event_id COLLATE "C"
);

CREATE TEMPORARY TABLE oracle_readings AS
WITH facts AS (
    SELECT
        session_id,
        start_ms,
        episode_id,
        kafka_partition,
        min(user_id COLLATE "C") FILTER (WHERE nth = 1) AS user_id,
        min(country COLLATE "C") FILTER (WHERE nth = 1) AS country,
        min(device COLLATE "C") FILTER (WHERE nth = 1) AS device,
        min(platform COLLATE "C") FILTER (WHERE nth = 1) AS platform,
        min(experiments::text) FILTER (WHERE nth = 1) AS experiments,
        min(ui_version COLLATE "C") FILTER (WHERE nth = 1) AS ui_version,
        bool_or(event_type = 'complete') AS has_completed,
        bool_or(nth_last = 1 AND event_type = 'exit') AS ends_with_exit,
        max(scroll_ratio) AS max_scroll_ratio,
        count(*) AS event_count,
        count(*) FILTER (WHERE event_type = 'scroll') AS scroll_event_count,
        -- least() passes over NULL, so the session's last event (no pause) is left out by hand
        coalesce(
            sum(least(pause_ms, dwell_cap_ms)) FILTER (WHERE event_type <> 'exit' AND pause_ms IS NOT NULL), 0
        ) AS dwell_time_ms,
        min(timestamp_ms) AS started_ms,
        max(timestamp_ms) AS ended_ms,
        max(kafka_offset) AS last_offset,
        max(kafka_ms) AS last_kafka_ms,
        bool_and(session_last_ms + gap_ms < last_clock_ms - lateness_ms) AS is_final,
        bool_and(coalesce(session_last_kafka_ms + gap_ms + lateness_ms < wall_ms, FALSE)) AS is_idle
    FROM oracle_session_events
    CROSS JOIN pg_temp.oracle_rules
    GROUP BY session_id, start_ms, episode_id, kafka_partition
),

judged AS (
    SELECT
        facts.*,
        CASE
            WHEN facts.has_completed THEN 'completed'
            WHEN facts.ends_with_exit THEN 'exited'
            WHEN facts.is_final OR facts.is_idle THEN 'timed_out'
            ELSE 'active'
        END AS status
    FROM facts
)

SELECT
    session_id,
    start_ms AS session_start_ms,
    episode_id,
    user_id,
    country,
    device,
    platform,
    coalesce(experiments::jsonb, '{}'::jsonb) AS experiments,
    ui_version,
    status,
    CASE status WHEN 'active' THEN NULL WHEN 'completed' THEN FALSE ELSE TRUE END AS is_exit_tag,
    CASE WHEN has_completed THEN 1.0 ELSE coalesce(max_scroll_ratio, 0.0) END::double precision AS completion_rate,
    max_scroll_ratio,
    event_count::integer AS event_count,
    scroll_event_count::integer AS scroll_event_count,
    dwell_time_ms::bigint AS dwell_time_ms,
    timestamptz 'epoch' + started_ms * interval '1 millisecond' AS started_at,
    timestamptz 'epoch' + ended_ms * interval '1 millisecond' AS ended_at,
    is_final,
    kafka_partition AS source_partition,
    last_offset,
    timestamptz 'epoch' + last_kafka_ms * interval '1 millisecond' AS last_event_kafka_at
FROM judged;
