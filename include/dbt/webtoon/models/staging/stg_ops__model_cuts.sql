select
    cut_id,
    run_id,
    generation,
    ledger_position,
    as_of,
    status,
    fixed_at
from {{ source('ops', 'model_cuts') }}
