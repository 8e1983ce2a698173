-- Does the window reach far enough? Back: a session may go on before it, or an event may be the repeat of one that was
-- accepted before it (whose session was in the state for as long as the clock was near). Forward: what closes a session
-- may lie behind it.
SELECT
    coalesce(bool_or(
        readings.run_start_ms < rules.window_from_ms + rules.gap_ms
        OR readings.lowest_clock_ms < rules.window_from_ms + rules.max_length_ms + rules.gap_ms + rules.lateness_ms
    ), FALSE)
    OR coalesce((
        SELECT bool_or(decided.walked_from_ms < edge.window_from_ms + edge.gap_ms)
        FROM decided
        CROSS JOIN rules AS edge
        INNER JOIN lines
            ON decided.kafka_partition = lines.kafka_partition AND decided.session_id = lines.session_id
    ), FALSE) AS needs_earlier,
    coalesce(bool_or(NOT readings.is_final), FALSE) AS needs_later
FROM readings
CROSS JOIN rules;
