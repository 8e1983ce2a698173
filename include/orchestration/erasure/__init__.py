"""Tasks of privacy__erase_user: each asks a table's own writer to take a reader out of it, and records that it did.

The work is with the writers: `include.common.slice_erasure` (archive), `include.common.publication_erasure`
(publisher), `include.orchestration.model_erasure` (model).
"""
