-- $1 gate, NULL for all; $2 days. One row an expectation: how often it was checked, its newest failure, its last checks.
WITH checked AS (
    SELECT
        gate,
        expectation,
        severity,
        success,
        unexpected_count,
        not_checked,
        observed_value,
        run_id,
        dag_id,
        checked_at,
        row_number() OVER (PARTITION BY gate, expectation ORDER BY checked_at DESC) AS age
    FROM quality.gate_results
    WHERE (gate = $1::text OR $1::text IS NULL) AND checked_at > now() - make_interval(days => $2::integer)
)

SELECT
    gate,
    expectation,
    (array_agg(severity ORDER BY age))[1] AS severity,
    count(*) AS checks,
    count(*) FILTER (WHERE success IS FALSE) AS failures,
    count(*) FILTER (WHERE not_checked IS NOT NULL) AS without_verdict,
    max(checked_at) FILTER (WHERE success IS FALSE) AS failed_at,
    max(checked_at) AS checked_at,
    (array_agg(not_checked ORDER BY age))[1] AS not_checked,
    (array_agg(dag_id ORDER BY age) FILTER (WHERE success IS FALSE))[1] AS failed_dag_id,
    (array_agg(run_id ORDER BY age) FILTER (WHERE success IS FALSE))[1] AS failed_run_id,
    (array_agg(observed_value ORDER BY age) FILTER (WHERE success IS FALSE))[1] AS failed_observed,
    (array_agg(unexpected_count ORDER BY age) FILTER (WHERE success IS FALSE))[1] AS failed_rows,
    array_agg(CASE WHEN success THEN 'ok' WHEN success IS FALSE THEN severity ELSE 'none' END ORDER BY age DESC)
    FILTER (WHERE age <= 60) AS verdicts
FROM checked
GROUP BY gate, expectation
ORDER BY gate ASC, failures DESC, expectation ASC
