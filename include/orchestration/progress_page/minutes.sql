-- The current generation by minute of its commits.
SELECT
    date_trunc('minute', b.committed_at) AS minute,
    count(*) AS batches,
    sum(b.events)::bigint AS records,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY (p.durations_ms ->> 'triggerExecution')::bigint) AS p50_ms,
    max((p.durations_ms ->> 'triggerExecution')::bigint) AS max_ms,
    max(extract(EPOCH FROM b.committed_at - b.min_kafka_at))::double precision AS worst_freshness_s,
    max((SELECT sum(lag.records::bigint) FROM jsonb_each_text(p.lag_records) AS lag (part, records)))::bigint
        AS max_lag,
    max(p.low_clock_at) AS low_clock_at
FROM ops.stream_batches AS b
INNER JOIN ops.stream_generations AS g ON b.generation = g.generation AND g.status = 'current'
LEFT JOIN ops.stream_progress AS p ON b.generation = p.generation AND b.batch_id = p.batch_id
WHERE b.committed_at > now() - interval '2 hours'
GROUP BY date_trunc('minute', b.committed_at)
ORDER BY date_trunc('minute', b.committed_at) DESC
