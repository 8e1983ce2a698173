-- $1 slice, $2 slices at most, $3 gate, $4 expectations.
-- What the last published slices before this one were made of, by the newest check of each.
WITH slices AS (
    SELECT earlier.slice_id, earlier.run_id
    FROM ops.archive_slices AS earlier
    INNER JOIN ops.archive_slices AS this
        ON this.slice_id = $1 AND earlier.topic = this.topic AND earlier.position < this.position
    WHERE earlier.status = 'published'
    ORDER BY earlier.position DESC
    LIMIT $2
)

SELECT DISTINCT ON (result.run_id, result.expectation)
    result.run_id,
    result.expectation,
    result.observed_value -> 'observed' -> 'counts' AS counts
FROM slices
INNER JOIN quality.gate_results AS result
    ON
        slices.run_id = result.run_id
        AND result.gate = $3
        AND result.expectation = ANY($4)
        AND result.observed_value -> 'observed' ? 'counts'
ORDER BY result.run_id ASC, result.expectation ASC, result.checked_at DESC
