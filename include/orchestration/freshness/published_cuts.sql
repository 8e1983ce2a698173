-- Final readings that each publication in the window brought: seconds from the Kafka timestamp of the event that made
-- them final (of the oldest event of that micro-batch) to the publication, and how many readings. Table '' is the marts.
WITH publications AS (
    SELECT '' AS hive_table, generation, ledger_position, published_at
    FROM ops.model_cuts
    WHERE published_at IS NOT NULL
    UNION ALL
    SELECT p.hive_table, c.generation, c.ledger_position, max(p.published_at) AS published_at
    FROM ops.publications AS p
    INNER JOIN ops.model_cuts AS c ON p.cut_id = c.cut_id
    GROUP BY p.hive_table, p.run_id, c.generation, c.ledger_position
),

ranges AS (
    SELECT
        hive_table,
        generation,
        ledger_position,
        published_at,
        max(ledger_position) OVER (
            PARTITION BY hive_table, generation ORDER BY published_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS published_before
    FROM publications
)

SELECT
    r.hive_table,
    extract(EPOCH FROM r.published_at - coalesce(b.min_kafka_at, b.committed_at))::double precision AS seconds,
    b.landing_rows AS weight
FROM ranges AS r
INNER JOIN ops.stream_batches AS b
    ON
        r.generation = b.generation
        AND r.ledger_position >= b.position
        AND coalesce(r.published_before, 0) < b.position
INNER JOIN ops.stream_generations AS g ON r.generation = g.generation AND b.committed_at >= g.status_since
WHERE r.published_at > $1::timestamptz - $2::interval AND r.published_at <= $1::timestamptz AND b.landing_rows > 0
