select
    cut_id,
    run_id,
    generation,
    ledger_position,
    as_of,
    status,
    fixed_at,
    base_cut_id,
    rebuild_reason,
    popularity_epoch
from {{ source('ops', 'model_cuts') }}
