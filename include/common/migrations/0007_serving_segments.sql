-- Readers of a country on a device, as of the published cut; nothing of it is in realtime.
CREATE VIEW serving.segment_features AS
SELECT
    m.country,
    m.device,
    m.final_reading_count,
    m.final_session_count,
    m.final_reader_count,
    m.segment_avg_completion_rate,
    m.segment_exit_rate,
    m.segment_avg_scroll_ratio,
    m.segment_avg_dwell_time_s,
    m.top_genre,
    c.cut_id AS marts_cut_id,
    c.marts_as_of,
    c.marts_published_at
FROM marts.segment_features AS m
CROSS JOIN serving.published_cut AS c;
COMMENT ON VIEW serving.segment_features IS 'one row a country and device with final readings, as of the published cut';
