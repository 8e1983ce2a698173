-- A changed row is closed and its next version opened, a row that vanished is closed; now() is the load's one time.
-- The first version of a key is valid from -infinity: what was read before its first load finds it, too.
WITH incoming AS (
    SELECT country, time_zone, utc_offset_minutes FROM pg_temp.staged_country_time_zones
),

known AS (
    SELECT country, time_zone, utc_offset_minutes FROM reference.country_time_zones WHERE valid_to = 'infinity'
),

compared AS (
    SELECT
        coalesce(incoming.country, known.country) AS country,
        CASE
            WHEN known.country IS NULL THEN 'added'
            WHEN incoming.country IS NULL THEN 'removed'
            WHEN (incoming.time_zone, incoming.utc_offset_minutes) <> (known.time_zone, known.utc_offset_minutes)
                THEN 'changed'
            ELSE 'unchanged'
        END AS change
    FROM incoming
    FULL JOIN known ON incoming.country = known.country
),

closed AS (
    UPDATE reference.country_time_zones AS stored SET valid_to = now()
    FROM compared
    WHERE
        stored.country = compared.country
        AND stored.valid_to = 'infinity'
        AND compared.change IN ('changed', 'removed')
),

opened AS (
    INSERT INTO reference.country_time_zones (country, time_zone, utc_offset_minutes, valid_from)
    SELECT
        incoming.country, incoming.time_zone, incoming.utc_offset_minutes,
        CASE
            WHEN EXISTS (SELECT FROM reference.country_time_zones AS earlier WHERE earlier.country = incoming.country)
                THEN now()
            ELSE '-infinity'
        END
    FROM incoming
    INNER JOIN compared ON incoming.country = compared.country
    WHERE compared.change IN ('added', 'changed')
)

SELECT
    change,
    count(*),
    (array_agg(country ORDER BY country))[1:5]
FROM compared
GROUP BY change
