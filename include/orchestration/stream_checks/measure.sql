-- The current generation: where it stood ten and five minutes ago and now, and what it committed in these ten minutes;
-- of one that was swapped in since then, from the swap on only: what it did as a shadow, or had not done as a retired
-- one, says nothing of the stream.
WITH times AS (
    SELECT
        clock_timestamp() AS at_end,
        clock_timestamp() - interval '5 minutes' AS at_middle,
        clock_timestamp() - interval '10 minutes' AS at_start
),

generation AS (
    SELECT
        g.generation,
        g.started_at,
        g.status_since,
        g.rules -> 'start_offsets' AS start_offsets
    FROM ops.stream_generations AS g
    WHERE g.status = 'current'
),

committed AS (
    SELECT
        b.events,
        b.dead_letters,
        b.committed_at - b.min_kafka_at AS worst
    FROM ops.stream_batches AS b
    INNER JOIN generation AS g ON b.generation = g.generation
    INNER JOIN times ON b.committed_at > greatest(times.at_start, g.status_since)
),

ranked AS (
    SELECT
        worst,
        sum(events) OVER (ORDER BY worst) AS reached,
        sum(events) OVER () AS total
    FROM committed
    WHERE worst IS NOT NULL
)

SELECT
    times.at_end,
    times.at_end - times.at_start AS span,
    greatest(times.at_start, g.status_since) AS counted_from,
    g.started_at,
    CASE WHEN newest.committed_at IS NOT NULL THEN greatest(newest.committed_at, g.status_since) END AS last_commit,
    coalesce(newest.end_offsets, g.start_offsets) AS reached_end,
    CASE WHEN greatest(g.started_at, g.status_since) <= times.at_middle THEN coalesce(halfway.end_offsets, g.start_offsets) END AS reached_middle,
    CASE WHEN greatest(g.started_at, g.status_since) <= times.at_start THEN coalesce(earliest.end_offsets, g.start_offsets) END AS reached_start,
    (SELECT coalesce(sum(c.events), 0)::bigint FROM committed AS c) AS events,
    (SELECT coalesce(sum(c.dead_letters), 0)::bigint FROM committed AS c) AS dead_letters,
    -- each event counts with the freshness of the oldest in its micro-batch: an upper bound
    (SELECT extract(EPOCH FROM min(r.worst))::double precision FROM ranked AS r WHERE r.reached >= 0.99 * r.total) AS p99_s
FROM generation AS g
CROSS JOIN times
LEFT JOIN LATERAL (
    SELECT
        b.end_offsets,
        b.committed_at
    FROM ops.stream_batches AS b
    WHERE b.generation = g.generation
    ORDER BY b.batch_id DESC
    LIMIT 1
) AS newest ON TRUE
LEFT JOIN LATERAL (
    SELECT b.end_offsets
    FROM ops.stream_batches AS b
    WHERE b.generation = g.generation AND b.committed_at <= times.at_middle
    ORDER BY b.batch_id DESC
    LIMIT 1
) AS halfway ON TRUE
LEFT JOIN LATERAL (
    SELECT b.end_offsets
    FROM ops.stream_batches AS b
    WHERE b.generation = g.generation AND b.committed_at <= times.at_start
    ORDER BY b.batch_id DESC
    LIMIT 1
) AS earliest ON TRUE
