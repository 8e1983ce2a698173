-- The newest micro-batches of the current generation.
SELECT
    b.batch_id,
    b.committed_at,
    b.events,
    b.dead_letters,
    b.late_events,
    p.durations_ms,
    p.lag_records,
    p.state,
    p.low_clock_at,
    p.high_clock_at,
    extract(EPOCH FROM b.committed_at - b.min_kafka_at)::double precision AS worst_freshness_s
FROM ops.stream_batches AS b
INNER JOIN ops.stream_generations AS g ON b.generation = g.generation AND g.status = 'current'
LEFT JOIN ops.stream_progress AS p ON b.generation = p.generation AND b.batch_id = p.batch_id
ORDER BY b.batch_id DESC
LIMIT 60
