-- $1 slice, $2 days.
-- The slice's time, how long it covers, and records/s of each earlier day in the same hour (UTC).
WITH timed AS (
    SELECT
        slice_id,
        position,
        produced,
        recorded_at,
        extract(EPOCH FROM recorded_at - lag(recorded_at) OVER (ORDER BY position))::double precision AS seconds
    FROM ops.archive_slices
    WHERE topic = (SELECT of_it.topic FROM ops.archive_slices AS of_it WHERE of_it.slice_id = $1)
),

this AS (
    SELECT recorded_at, seconds, position FROM timed WHERE slice_id = $1
),

days AS (
    SELECT
        (timed.recorded_at AT TIME ZONE 'UTC')::date AS day,
        sum(timed.produced) / sum(timed.seconds) AS rate
    FROM timed
    INNER JOIN this ON timed.position < this.position
    WHERE
        timed.seconds > 0
        AND (timed.recorded_at AT TIME ZONE 'UTC')::date < (this.recorded_at AT TIME ZONE 'UTC')::date
        AND (timed.recorded_at AT TIME ZONE 'UTC')::date >= (this.recorded_at AT TIME ZONE 'UTC')::date - $2::integer
        AND extract(HOUR FROM timed.recorded_at AT TIME ZONE 'UTC')
        = extract(HOUR FROM this.recorded_at AT TIME ZONE 'UTC')
    GROUP BY (timed.recorded_at AT TIME ZONE 'UTC')::date
)

SELECT
    round(extract(EPOCH FROM this.recorded_at) * 1000)::bigint AS recorded_at_ms,
    this.seconds,
    coalesce((SELECT array_agg(days.rate ORDER BY days.day) FROM days), '{}') AS daily_rates
FROM this
