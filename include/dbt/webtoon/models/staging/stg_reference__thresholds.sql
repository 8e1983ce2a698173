select
    name,
    value,
    valid_from,
    valid_to
from {{ source('reference', 'thresholds') }}
