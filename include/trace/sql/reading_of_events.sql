-- What a reading's features must be, from the session's events that count.
WITH placed AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY session_id, session_start_ms, episode_id ORDER BY event_ms, event_id
        ) AS nth,
        row_number() OVER (
            PARTITION BY session_id, session_start_ms, episode_id ORDER BY event_ms DESC, event_id DESC
        ) AS nth_last
    FROM counted
)

SELECT
    session_id,
    session_start_ms,
    episode_id,
    max(user_id) FILTER (WHERE nth = 1) AS user_id,
    max(country) FILTER (WHERE nth = 1) AS country,
    max(device) FILTER (WHERE nth = 1) AS device,
    max(platform) FILTER (WHERE nth = 1) AS platform,
    max(ui_version) FILTER (WHERE nth = 1) AS ui_version,
    count(*) AS event_count,
    count(*) FILTER (WHERE event_type = 'scroll') AS scroll_event_count,
    max(scroll_ratio) AS max_scroll_ratio,
    CASE
        WHEN bool_or(event_type = 'complete') THEN 1.0
        ELSE coalesce(max(scroll_ratio), 0.0)
    END AS completion_rate,
    coalesce(sum(pause_ms) FILTER (WHERE event_type <> 'exit'), 0) AS dwell_time_ms,
    bool_or(event_type = 'complete') AS has_completed,
    bool_or(event_type = 'exit' AND nth_last = 1) AS ends_with_exit,
    min(event_ms) AS started_ms,
    max(event_ms) AS ended_ms,
    max(kafka_offset) AS last_offset
FROM placed
GROUP BY session_id, session_start_ms, episode_id
