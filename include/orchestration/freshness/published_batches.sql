-- Micro-batches of the current generation in the window: how old their oldest event was at the commit, how many events.
SELECT
    extract(EPOCH FROM b.committed_at - b.min_kafka_at)::double precision AS seconds,
    b.events AS weight
FROM ops.stream_batches AS b
INNER JOIN ops.stream_generations AS g ON b.generation = g.generation AND g.status = 'current'
WHERE
    b.committed_at > $1::timestamptz - $2::interval
    AND b.committed_at <= $1::timestamptz
    -- what a shadow replayed before it was swapped in was not served
    AND b.committed_at >= g.status_since
    AND b.min_kafka_at IS NOT NULL
    AND b.events > 0
