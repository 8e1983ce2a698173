-- For PostgreSQL: the published generation and those that it follows, newest first. A generation publishes the sessions
-- that began at its point or later, up to the earliest point of the generations after it.
WITH RECURSIVE followed AS (
    SELECT
        generation, rules, 0 AS place,
        (rules ->> 'publish_from_ms')::bigint AS from_ms,
        (rules ->> 'follows')::integer AS follows,
        4611686018427387904 AS to_ms
    FROM ops.stream_generations
    WHERE generation = %(generation)s
    UNION ALL
    SELECT
        before.generation, before.rules, followed.place + 1,
        (before.rules ->> 'publish_from_ms')::bigint,
        (before.rules ->> 'follows')::integer,
        least(followed.to_ms, followed.from_ms)
    FROM followed
    INNER JOIN ops.stream_generations AS before ON followed.follows = before.generation
    WHERE followed.from_ms IS NOT NULL
)

SELECT
    followed.generation,
    followed.rules,
    CASE WHEN followed.follows IS NULL THEN -4611686018427387904
        ELSE coalesce(followed.from_ms, -4611686018427387904) END AS from_ms,
    followed.to_ms,
    (
        SELECT batch.end_offsets FROM ops.stream_batches AS batch
        WHERE
            batch.generation = followed.generation
            AND (followed.place > 0 OR batch.position <= %(ledger_position)s)
        ORDER BY batch.position DESC LIMIT 1
    ) AS end_offsets
FROM followed
ORDER BY followed.place
