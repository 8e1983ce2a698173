-- A changed row is closed and its next version opened, a row that vanished is closed; now() is the load's one time.
-- All variants of an experiment's first load are valid from -infinity; one that joins later is valid from then, so
-- that the shares in force sum to 1 at any time.
WITH incoming AS (
    SELECT experiment, variant, share FROM pg_temp.staged_experiments
),

known AS (
    SELECT experiment, variant, share FROM reference.experiments WHERE valid_to = 'infinity'
),

compared AS (
    SELECT
        coalesce(incoming.experiment, known.experiment) AS experiment,
        coalesce(incoming.variant, known.variant) AS variant,
        CASE
            WHEN known.experiment IS NULL THEN 'added'
            WHEN incoming.experiment IS NULL THEN 'removed'
            WHEN incoming.share <> known.share THEN 'changed'
            ELSE 'unchanged'
        END AS change
    FROM incoming
    FULL JOIN known ON incoming.experiment = known.experiment AND incoming.variant = known.variant
),

closed AS (
    UPDATE reference.experiments AS stored SET valid_to = now()
    FROM compared
    WHERE
        stored.experiment = compared.experiment
        AND stored.variant = compared.variant
        AND stored.valid_to = 'infinity'
        AND compared.change IN ('changed', 'removed')
),

opened AS (
    INSERT INTO reference.experiments (experiment, variant, share, valid_from)
    SELECT
        incoming.experiment, incoming.variant, incoming.share,
        CASE
            WHEN EXISTS (SELECT FROM reference.experiments AS earlier WHERE earlier.experiment = incoming.experiment)
                THEN now()
            ELSE '-infinity'
        END
    FROM incoming
    INNER JOIN compared ON incoming.experiment = compared.experiment AND incoming.variant = compared.variant
    WHERE compared.change IN ('added', 'changed')
)

SELECT
    change,
    count(*),
    (array_agg(experiment || '/' || variant ORDER BY experiment || '/' || variant))[1:5]
FROM compared
GROUP BY change
