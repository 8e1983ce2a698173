-- $1 cut, $2 its generation, $3 cuts at most, $4 gate, $5 expectations, $6 least new readings.
-- Quantiles of what was new in the last published cuts before this one, by the newest check of each.
WITH cuts AS (
    SELECT run_id
    FROM ops.model_cuts
    WHERE published_at IS NOT NULL AND cut_id < $1 AND generation = $2
    ORDER BY cut_id DESC
    LIMIT $3
)

SELECT DISTINCT ON (result.run_id, result.expectation)
    result.expectation,
    result.observed_value -> 'observed' -> 'values' AS quantiles
FROM cuts
INNER JOIN quality.gate_results AS result
    ON
        cuts.run_id = result.run_id
        AND result.gate = $4
        AND result.expectation = ANY($5)
        AND result.element_count >= $6
        AND result.observed_value -> 'observed' ? 'values'
ORDER BY result.run_id ASC, result.expectation ASC, result.checked_at DESC
