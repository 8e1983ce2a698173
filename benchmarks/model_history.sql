-- Final readings number %(first)s to %(last)s, a session each, as the stream would have left them: 1,000 every ten minutes and
-- one micro-batch in each ten minutes, in the order of time. Ten readings a reader on average, %(users)s of them.
INSERT INTO realtime.session_features (
    session_id, session_start_ms, episode_id, user_id, country, device, platform, status, is_exit_tag, completion_rate,
    max_scroll_ratio, event_count, scroll_event_count, dwell_time_ms, started_at, ended_at, is_final, source_partition,
    last_offset, last_event_kafka_at, generation, batch_id, ledger_position
)
SELECT
    's' || lpad(number::text, 10, '0'),
    (extract(EPOCH FROM at) * 1000)::bigint - 60000,
    'ep' || (hashint8(number * 3) & 2147483647) %% 2000,
    'u' || (hashint8(number) & 2147483647) %% %(users)s,
    (ARRAY['KR', 'US', 'JP', 'FR', 'ID', 'TH', 'DE', 'MX'])[1 + (hashint8(number * 5) & 7)],
    (ARRAY['phone', 'phone', 'tablet', 'desktop'])[1 + (hashint8(number * 7) & 3)],
    'ios',
    CASE WHEN number %% 3 = 0 THEN 'exited' ELSE 'completed' END,
    number %% 3 = 0,
    CASE WHEN number %% 3 = 0 THEN 0.25 ELSE 1 END,
    CASE WHEN number %% 5 > 0 THEN (number %% 97) / 97.0 END,
    12, 5, number %% 60000,
    at - interval '1 minute', at, TRUE, 0, number, at, 1,
    (number - 1) / 1000, (number - 1) / 1000 + 1
FROM (
    SELECT number, %(ends)s::timestamptz + (number - %(last)s) * interval '0.6 seconds' AS at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
) AS reading
