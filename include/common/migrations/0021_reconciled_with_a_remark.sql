-- A late-corrected day is compared without the sessions that its late events have changed: a verdict, and a reason beside it.
ALTER TABLE quality.reconciliation DROP CONSTRAINT reconciliation_check;
ALTER TABLE quality.reconciliation ADD CONSTRAINT reconciliation_reason CHECK (verdict <> 'not_checked' OR reason IS NOT NULL);
COMMENT ON COLUMN quality.reconciliation.reason IS
    'why the day, or some of its rows, could not be checked; nothing is said of those rows then';
