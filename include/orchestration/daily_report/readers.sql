-- How many readers and sessions a day's final readings are of.
SELECT
    (SELECT count(*) FROM (SELECT user_id FROM read_parquet($1) GROUP BY user_id) AS readers) AS readers,
    (
        SELECT count(*)
        FROM (SELECT session_id, session_start_ms FROM read_parquet($1) GROUP BY session_id, session_start_ms) AS sessions
    ) AS sessions
