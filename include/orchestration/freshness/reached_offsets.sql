-- How far the stream and the archive have come on the topic, and the newest event time that the realtime tables know.
SELECT
    clock_timestamp() AS at,
    (
        SELECT coalesce(
            (SELECT b.end_offsets FROM ops.stream_batches AS b WHERE b.generation = g.generation ORDER BY b.batch_id DESC LIMIT 1),
            g.rules -> 'start_offsets'
        )
        FROM ops.stream_generations AS g
        WHERE g.status = 'current'
    ) AS stream_reached,
    -- one transaction writes all realtime tables; this is the smallest of them
    (SELECT max(e.last_read_at) FROM realtime.episode_features AS e) AS newest_event_at,
    coalesce(
        -- slices lie end to end: what waits for the longest is in the first one that did not end
        (
            SELECT s.start_offsets FROM ops.archive_slices AS s
            WHERE s.topic = $1::text AND s.status IN ('recorded', 'staged') ORDER BY s.position LIMIT 1
        ),
        (SELECT s.end_offsets FROM ops.archive_slices AS s WHERE s.topic = $1::text ORDER BY s.position DESC LIMIT 1)
    ) AS archive_reached,
    (
        SELECT s.end_offsets FROM ops.archive_slices AS s
        WHERE s.topic = $1::text AND s.status = 'published' ORDER BY s.position DESC LIMIT 1
    ) AS archived_to
