-- What changes in the marts, noted in the transaction that changes it: the feature histories in Hive miss no cut, also
-- where features__publish_batch was down for a while, and cost what changed.
CREATE SEQUENCE ops.mart_publication_ids;
CREATE TABLE ops.mart_publications (
    publication_id bigint PRIMARY KEY,
    cut_id         bigint NOT NULL,
    generation     integer NOT NULL,
    as_of          timestamptz NOT NULL,
    known_at       timestamptz NOT NULL
);
COMMENT ON TABLE ops.mart_publications IS
    'writer: features__model (trigger of ops.model_cuts), append only; a row each time that marts are published, so a cut that is published again has two';
COMMENT ON COLUMN ops.mart_publications.known_at IS
    'ops.model_cuts.published_at of that time: from then on the values could be read';
CREATE TABLE ops.mart_changes (
    publication_id bigint NOT NULL,
    mart           text NOT NULL,
    is_removed     boolean NOT NULL,
    features       jsonb NOT NULL
);
CREATE INDEX mart_changes_publication ON ops.mart_changes (publication_id, mart);
COMMENT ON TABLE ops.mart_changes IS
    'outbox. Writer: features__model (triggers of marts.*); features__publish_batch takes out what is in Hive';
COMMENT ON COLUMN ops.mart_changes.features IS 'the new row; of a removed one the row as it was';

-- One id for all that a transaction changes.
CREATE FUNCTION ops.current_mart_publication() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('webtoon.mart_publication', TRUE), '') = '' THEN
        PERFORM set_config('webtoon.mart_publication', nextval('ops.mart_publication_ids')::text, TRUE);
    END IF;
    RETURN current_setting('webtoon.mart_publication')::bigint;
END $$;

CREATE FUNCTION ops.note_mart_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op = 'INSERT' THEN
        INSERT INTO ops.mart_changes
        SELECT ops.current_mart_publication(), tg_table_name, FALSE, to_jsonb(new_rows) FROM new_rows;
    ELSIF tg_op = 'UPDATE' THEN
        INSERT INTO ops.mart_changes
        SELECT ops.current_mart_publication(), tg_table_name, FALSE, changed.features
        FROM (SELECT to_jsonb(new_rows) FROM new_rows EXCEPT SELECT to_jsonb(old_rows) FROM old_rows) AS changed (features);
    ELSE
        INSERT INTO ops.mart_changes
        SELECT ops.current_mart_publication(), tg_table_name, TRUE, to_jsonb(old_rows) FROM old_rows;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER note_inserted AFTER INSERT ON marts.user_features
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ops.note_mart_changes();
CREATE TRIGGER note_updated AFTER UPDATE ON marts.user_features
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ops.note_mart_changes();
CREATE TRIGGER note_removed AFTER DELETE ON marts.user_features
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ops.note_mart_changes();
CREATE TRIGGER note_inserted AFTER INSERT ON marts.episode_features
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ops.note_mart_changes();
CREATE TRIGGER note_updated AFTER UPDATE ON marts.episode_features
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ops.note_mart_changes();
CREATE TRIGGER note_removed AFTER DELETE ON marts.episode_features
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ops.note_mart_changes();

CREATE FUNCTION ops.note_mart_publication() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.published_at IS NOT NULL AND (tg_op = 'INSERT' OR new.published_at IS DISTINCT FROM old.published_at) THEN
        INSERT INTO ops.mart_publications
        VALUES (ops.current_mart_publication(), new.cut_id, new.generation, new.as_of, new.published_at);
        PERFORM set_config('webtoon.mart_publication', '', TRUE);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_published AFTER INSERT OR UPDATE OF published_at ON ops.model_cuts
FOR EACH ROW EXECUTE FUNCTION ops.note_mart_publication();

-- Marts that were published before this migration begin the histories.
WITH published AS (
    INSERT INTO ops.mart_publications
    SELECT nextval('ops.mart_publication_ids'), cut_id, generation, as_of, published_at
    FROM ops.model_cuts
    WHERE published_at IS NOT NULL
    ORDER BY published_at DESC
    LIMIT 1
    RETURNING publication_id
)

INSERT INTO ops.mart_changes
SELECT published.publication_id, 'user_features', FALSE, to_jsonb(mart)
FROM published
CROSS JOIN marts.user_features AS mart
UNION ALL
SELECT published.publication_id, 'episode_features', FALSE, to_jsonb(mart)
FROM published
CROSS JOIN marts.episode_features AS mart;

-- The rating that a reader saw, beside the genre.
CREATE OR REPLACE VIEW serving.session_features AS
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
    extract(EPOCH FROM s.committed_at - s.last_event_kafka_at)::double precision AS realtime_freshness_s,
    e.rating::double precision AS episode_rating
FROM realtime.session_features AS s
LEFT JOIN reference.episode_metadata AS e
    ON s.episode_id = e.episode_id AND s.started_at >= e.valid_from AND s.started_at < e.valid_to
LEFT JOIN marts.episode_features AS m ON s.episode_id = m.episode_id;
COMMENT ON VIEW serving.session_features IS
'one row a reading; title, genre, tags and episode_rating as of started_at, current_popularity_rank as of the published cut';
