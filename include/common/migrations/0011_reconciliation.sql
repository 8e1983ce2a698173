-- Stream = batch: what comparing a day of session_features with its recomputation found; every run adds rows.
CREATE TABLE quality.reconciliation (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id            text NOT NULL,
    dt                date NOT NULL,
    verdict           text NOT NULL CHECK (verdict IN ('equal', 'different', 'not_checked')),
    reason            text,
    generation        integer,
    ledger_position   bigint,
    location          text,
    rows_equal        bigint,
    rows_differing    bigint,
    only_published    bigint,
    only_recomputed   bigint,
    rows_doubled      bigint,
    late_events_checked bigint,
    late_events_wrong jsonb,
    genre_unknown_then bigint,
    differing_by_column jsonb,
    samples           jsonb,
    events_read       bigint NOT NULL,
    took_seconds      double precision NOT NULL,
    checked_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((verdict = 'not_checked') = (reason IS NOT NULL)),
    CHECK ((verdict = 'not_checked') = (rows_equal IS NULL))
);
CREATE INDEX reconciliation_dt ON quality.reconciliation (dt, reconciliation_id);
COMMENT ON TABLE quality.reconciliation IS 'writer: features__reconcile; append only';
COMMENT ON COLUMN quality.reconciliation.reason IS 'why the day could not be checked; nothing is said of its rows then';
COMMENT ON COLUMN quality.reconciliation.ledger_position IS 'of the newest publication of session_features: the cut that is compared';
COMMENT ON COLUMN quality.reconciliation.location IS 'folder that the partition pointed at';
COMMENT ON COLUMN quality.reconciliation.samples IS 'some rows that are not as recomputed, without personal ids';
COMMENT ON COLUMN quality.reconciliation.genre_unknown_then IS
    'rows without a genre, of episodes that reference learnt after they were published; counted as equal';
