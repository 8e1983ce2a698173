-- Who decided on a quarantined slice, why and when (quality__release_slice); where its failing rows begin.
ALTER TABLE quality.quarantine_slices
    ADD COLUMN sample_offsets  jsonb,
    ADD COLUMN decided_by      text,
    ADD COLUMN decision_reason text,
    ADD COLUMN decided_at      timestamptz;
COMMENT ON COLUMN quality.quarantine_slices.sample_offsets IS
    'expectation -> some of the rows that broke it, as topic[partition]@offset';
ALTER TABLE ops.archive_slices
    ADD COLUMN decided_by      text,
    ADD COLUMN decision_reason text,
    ADD COLUMN decided_at      timestamptz;
COMMENT ON TABLE ops.archive_slices IS 'writer: the archive (events__archive, quality__release_slice)';
COMMENT ON TABLE quality.quarantine_slices IS 'writer: the archive (events__archive, quality__release_slice)';
-- A check against history that has none gives no verdict.
ALTER TABLE quality.gate_results ALTER COLUMN success DROP NOT NULL;
ALTER TABLE quality.gate_results
    ADD COLUMN not_checked text,
    ADD CONSTRAINT gate_results_verdict_or_why_none CHECK ((success IS NULL) = (not_checked IS NOT NULL));
COMMENT ON COLUMN quality.gate_results.not_checked IS 'why there is no verdict (success is NULL): too little history';
