-- Per table of final readings ('' is the marts): up to which event time it knows readings, and since when (Kafka time)
-- the oldest micro-batch waits that made readings final and is not published. NULL: nothing published, nothing waits.
WITH newest AS (
    SELECT '' AS hive_table, max(ledger_position) AS reached, max(as_of) AS as_of
    FROM ops.model_cuts
    WHERE published_at IS NOT NULL
    UNION ALL
    SELECT t.hive_table, max(c.ledger_position) AS reached, max(c.as_of) AS as_of
    FROM unnest($1::text []) AS t (hive_table)
    LEFT JOIN ops.publications AS p ON t.hive_table = p.hive_table
    LEFT JOIN ops.model_cuts AS c ON p.cut_id = c.cut_id
    GROUP BY t.hive_table
)

SELECT
    n.hive_table,
    n.as_of,
    waiting.since AS waits_since
FROM newest AS n
LEFT JOIN LATERAL (
    SELECT coalesce(b.min_kafka_at, b.committed_at) AS since
    FROM ops.stream_batches AS b
    INNER JOIN ops.stream_generations AS g ON b.generation = g.generation AND g.status = 'current'
    WHERE b.position > coalesce(n.reached, 0) AND b.landing_rows > 0 AND b.committed_at >= g.status_since
    ORDER BY b.position
    LIMIT 1
) AS waiting ON TRUE
