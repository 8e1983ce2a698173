-- What a mart's counts and averages must be, from the readings themselves.
SELECT
    count(*) AS readings,
    count(DISTINCT row(session_id, session_start_ms)) AS sessions,
    count(DISTINCT user_id) AS readers,
    avg(completion_rate) AS completion_rate,
    avg(CASE WHEN is_exit_tag THEN 1.0 ELSE 0.0 END) AS exit_rate,
    avg(max_scroll_ratio) AS scroll_ratio,
    avg(dwell_time_ms) / 1000.0 AS dwell_time_s
FROM readings
