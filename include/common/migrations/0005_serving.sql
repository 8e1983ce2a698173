-- At most one cut is open: gate and dbt read "the open cut".
CREATE UNIQUE INDEX model_cuts_one_open ON ops.model_cuts (status) WHERE status = 'open';

-- marts: writer: the publish task of features__model. Columns equal the dbt contracts (a test holds them equal).
CREATE TABLE marts.user_features (
    user_id                   text COLLATE "C" PRIMARY KEY,
    final_reading_count       bigint NOT NULL,
    final_session_count       bigint NOT NULL,
    user_avg_completion_rate  double precision NOT NULL,
    user_exit_rate            double precision NOT NULL,
    user_avg_scroll_ratio     double precision,
    user_avg_dwell_time_s     double precision NOT NULL,
    user_readings_per_session double precision NOT NULL,
    favourite_genre           text,
    favourite_genre_share     double precision,
    favourite_tags            text[] NOT NULL,
    usual_device              text NOT NULL,
    usual_country             text NOT NULL
);
CREATE TABLE marts.episode_features (
    episode_id                  text COLLATE "C" PRIMARY KEY,
    title_id                    text,
    title                       text,
    episode_number              integer,
    genre                       text,
    tags                        text[] NOT NULL,
    launch_date                 date,
    episode_avg_rating          double precision,
    final_reading_count         bigint NOT NULL,
    final_reader_count          bigint NOT NULL,
    episode_avg_completion_rate double precision,
    episode_exit_rate           double precision,
    episode_avg_scroll_ratio    double precision,
    episode_avg_dwell_time_s    double precision,
    popularity_score            double precision NOT NULL,
    current_popularity_rank     bigint
);
CREATE INDEX episode_features_rank ON marts.episode_features (current_popularity_rank);
CREATE TABLE marts.segment_features (
    country                     text COLLATE "C" NOT NULL,
    device                      text COLLATE "C" NOT NULL,
    final_reading_count         bigint NOT NULL,
    final_session_count         bigint NOT NULL,
    final_reader_count          bigint NOT NULL,
    segment_avg_completion_rate double precision NOT NULL,
    segment_exit_rate           double precision NOT NULL,
    segment_avg_scroll_ratio    double precision,
    segment_avg_dwell_time_s    double precision NOT NULL,
    top_genre                   text,
    PRIMARY KEY (country, device)
);

-- serving: what a recommender reads. Counts and last-seen values come from realtime, derived and joined ones
-- from marts; nothing adds the two. realtime_* rates count closed readings as of the last micro-batch,
-- user_* and episode_* rates count final readings as of the published cut.
CREATE VIEW serving.published_cut AS
SELECT
    cut_id,
    as_of AS marts_as_of,
    published_at AS marts_published_at
FROM ops.model_cuts
WHERE published_at IS NOT NULL
ORDER BY published_at DESC
LIMIT 1;
COMMENT ON VIEW serving.published_cut IS 'the cut that the rows of marts are of';
COMMENT ON COLUMN serving.published_cut.marts_as_of IS 'event time up to which the marts know readings';

CREATE VIEW serving.user_features AS
SELECT
    r.user_id,
    r.readings_active,
    r.readings_closed,
    r.readings_completed,
    r.readings_exited,
    r.completion_ppm_sum / 1e6::double precision / nullif(r.readings_closed, 0) AS realtime_avg_completion_rate,
    r.readings_exited::double precision / nullif(r.readings_closed, 0) AS realtime_exit_rate,
    r.dwell_time_ms_sum / 1e3::double precision / nullif(r.readings_closed, 0) AS realtime_avg_dwell_time_s,
    r.last_read_at,
    r.last_episode_id,
    m.user_avg_completion_rate,
    m.user_exit_rate,
    m.user_avg_scroll_ratio,
    m.user_avg_dwell_time_s,
    m.user_readings_per_session,
    m.favourite_genre,
    m.favourite_genre_share,
    m.favourite_tags,
    m.usual_device,
    m.usual_country,
    r.committed_at AS realtime_committed_at,
    r.last_event_kafka_at AS realtime_last_event_kafka_at,
    extract(EPOCH FROM r.committed_at - r.last_event_kafka_at)::double precision AS realtime_freshness_s,
    c.cut_id AS marts_cut_id,
    c.marts_as_of,
    c.marts_published_at
FROM realtime.user_features AS r
LEFT JOIN marts.user_features AS m ON r.user_id = m.user_id
LEFT JOIN serving.published_cut AS c ON m.user_id IS NOT NULL;
COMMENT ON VIEW serving.user_features IS
'one row a reader the stream knows; marts columns are NULL until a cut with the reader is published';
COMMENT ON COLUMN serving.user_features.realtime_freshness_s IS
'commit time of the realtime row - Kafka timestamp of its newest event, seconds';

-- UNION ALL, not FULL JOIN, so that a lookup by episode_id uses both primary keys.
CREATE VIEW serving.episode_features AS
SELECT
    r.episode_id,
    r.readings_active,
    r.readings_closed,
    r.readings_completed,
    r.readings_exited,
    r.completion_ppm_sum / 1e6::double precision / nullif(r.readings_closed, 0) AS realtime_avg_completion_rate,
    r.readings_exited::double precision / nullif(r.readings_closed, 0) AS realtime_exit_rate,
    r.scroll_ppm_sum / 1e6::double precision / nullif(r.readings_with_scroll, 0) AS realtime_avg_scroll_ratio,
    r.dwell_time_ms_sum / 1e3::double precision / nullif(r.readings_closed, 0) AS realtime_avg_dwell_time_s,
    r.last_read_at,
    m.title_id,
    m.title,
    m.episode_number,
    m.genre,
    m.tags,
    m.launch_date,
    m.episode_avg_rating,
    m.episode_avg_completion_rate,
    m.episode_exit_rate,
    m.episode_avg_scroll_ratio,
    m.episode_avg_dwell_time_s,
    m.final_reader_count,
    m.popularity_score,
    m.current_popularity_rank,
    r.committed_at AS realtime_committed_at,
    r.last_event_kafka_at AS realtime_last_event_kafka_at,
    extract(EPOCH FROM r.committed_at - r.last_event_kafka_at)::double precision AS realtime_freshness_s,
    c.cut_id AS marts_cut_id,
    c.marts_as_of,
    c.marts_published_at
FROM realtime.episode_features AS r
LEFT JOIN marts.episode_features AS m ON r.episode_id = m.episode_id
LEFT JOIN serving.published_cut AS c ON m.episode_id IS NOT NULL
UNION ALL
SELECT
    m.episode_id,
    0, 0, 0, 0,
    NULL, NULL, NULL, NULL, NULL,
    m.title_id,
    m.title,
    m.episode_number,
    m.genre,
    m.tags,
    m.launch_date,
    m.episode_avg_rating,
    m.episode_avg_completion_rate,
    m.episode_exit_rate,
    m.episode_avg_scroll_ratio,
    m.episode_avg_dwell_time_s,
    m.final_reader_count,
    m.popularity_score,
    m.current_popularity_rank,
    NULL, NULL, NULL,
    c.cut_id,
    c.marts_as_of,
    c.marts_published_at
FROM marts.episode_features AS m
LEFT JOIN serving.published_cut AS c ON TRUE
WHERE NOT EXISTS (SELECT FROM realtime.episode_features AS r WHERE r.episode_id = m.episode_id);
COMMENT ON VIEW serving.episode_features IS
'one row an episode that the stream or the published cut knows; an unread one has metadata and no rates';

CREATE VIEW serving.session_features AS
SELECT
    s.session_id,
    s.session_start_ms,
    s.episode_id,
    (
        SELECT count(DISTINCT earlier.session_start_ms)
        FROM realtime.session_features AS earlier
        WHERE earlier.session_id = s.session_id AND earlier.session_start_ms <= s.session_start_ms
    ) AS session_number,
    s.user_id,
    s.country,
    s.device,
    s.platform,
    s.experiments,
    s.ui_version,
    s.status,
    s.is_exit_tag,
    s.completion_rate,
    s.max_scroll_ratio,
    s.event_count,
    s.scroll_event_count,
    s.dwell_time_ms,
    s.started_at,
    s.ended_at,
    s.is_final,
    e.title_id,
    e.title,
    e.genre,
    e.tags,
    m.current_popularity_rank,
    s.committed_at AS realtime_committed_at,
    s.last_event_kafka_at AS realtime_last_event_kafka_at,
    extract(EPOCH FROM s.committed_at - s.last_event_kafka_at)::double precision AS realtime_freshness_s
FROM realtime.session_features AS s
LEFT JOIN reference.episode_metadata AS e
    ON s.episode_id = e.episode_id AND s.started_at >= e.valid_from AND s.started_at < e.valid_to
LEFT JOIN marts.episode_features AS m ON s.episode_id = m.episode_id;
COMMENT ON VIEW serving.session_features IS
'one row a reading; title, genre and tags as of started_at, current_popularity_rank as of the published cut';
