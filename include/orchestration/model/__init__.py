"""features__model: from final readings to published marts, one cut a run.

- `cut`: what a run reads, and which published cut it is computed from
- `publication`: candidate marts become the published ones
- `tasks`: what the DAG's tasks do; connections, XCom and gates around the two
- `erasure`: a reader and the marts

What is computed is dbt's (`include/dbt/webtoon`); how dbt runs is in `include.orchestration.dbt`. From here come the names that
others use; all but `tasks` are plain functions over a libpq DSN.
"""

from include.orchestration.model.cut import (
    Cut,
    NothingToModelError,
    count_new_readings,
    fix_cut,
    readings_of_cut_query,
    reject_cut,
)
from include.orchestration.model.publication import (
    KEYS,
    CandidateMismatchError,
    PublishedRows,
    checked_query,
    is_partial,
    publish,
    published_row_counts,
)

__all__ = [
    "KEYS",
    "CandidateMismatchError",
    "Cut",
    "NothingToModelError",
    "PublishedRows",
    "checked_query",
    "count_new_readings",
    "fix_cut",
    "is_partial",
    "publish",
    "published_row_counts",
    "readings_of_cut_query",
    "reject_cut",
]
