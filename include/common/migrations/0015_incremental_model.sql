-- Each cut computes what changed since the last published one: what that needs to be found, and to be known of a cut.

-- A summarizing index keeps an update in place (HOT), unlike the one that 0010 dropped: a few entries a range of pages.
-- Rows that became final lately, and readings that ended at a certain time, stand close together in the table.
DO $$
DECLARE
    readings regclass;
BEGIN
    FOREACH readings IN ARRAY ARRAY[
        to_regclass('realtime.session_features'),
        to_regclass('realtime_shadow.session_features'),
        to_regclass('realtime_retired.session_features')
    ] LOOP
        IF readings IS NOT NULL THEN
            EXECUTE format(
                'CREATE INDEX session_features_position_ended ON %s USING brin (ledger_position, ended_at)'
                ' WITH (pages_per_range = 16, autosummarize = on)', readings
            );
        END IF;
    END LOOP;
END $$;

ALTER TABLE ops.model_cuts
    ADD COLUMN base_cut_id bigint,
    ADD COLUMN rebuild_reason text,
    ADD COLUMN popularity_epoch timestamptz,
    ADD COLUMN model_version text,
    ADD COLUMN mart_rows jsonb;
COMMENT ON COLUMN ops.model_cuts.base_cut_id IS
    'the published cut that this one is computed from, by what changed since; NULL where the marts are rebuilt wholly';
COMMENT ON COLUMN ops.model_cuts.rebuild_reason IS 'why the marts are rebuilt wholly; NULL where they are not';
COMMENT ON COLUMN ops.model_cuts.popularity_epoch IS
    'time that weights of popularity are kept at, so that their decay is one factor for all episodes';
COMMENT ON COLUMN ops.model_cuts.model_version IS 'hash of the dbt project''s models and macros';
COMMENT ON COLUMN ops.model_cuts.mart_rows IS 'rows of each mart as published';

-- When a version was loaded, and last changed (closed): valid_from does not say it of a first version, which is valid
-- from -infinity.
ALTER TABLE reference.episode_metadata
    ADD COLUMN loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT clock_timestamp();
CREATE FUNCTION reference.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.changed_at := clock_timestamp();
    RETURN new;
END $$;
CREATE TRIGGER note_change BEFORE UPDATE ON reference.episode_metadata
FOR EACH ROW EXECUTE FUNCTION reference.note_change();
