-- What a gate found lately: whether a warning was told in this hour, and a gate's history.
CREATE INDEX gate_results_gate_time ON quality.gate_results (gate, checked_at);
