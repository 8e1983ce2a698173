-- Slices that came into raw_events in the window by themselves; one that a person released was withheld by its gate,
-- which has told it: no delay.
SELECT
    start_offsets,
    end_offsets,
    finished_at,
    archived
FROM ops.archive_slices
WHERE
    topic = $3::text
    AND status = 'published'
    AND decided_by IS NULL
    AND finished_at > $1::timestamptz - $2::interval
    AND finished_at <= $1::timestamptz
ORDER BY position
