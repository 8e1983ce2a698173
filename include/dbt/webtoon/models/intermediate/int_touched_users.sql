{{ config(post_hook="analyze {{ this }}") }}
-- Readers with a reading that became final since the base: found through the index on ledger_position.
with cut as (
    select * from {{ ref('int_model_cut') }}
)

select
    reading.user_id,
    count(*) as new_reading_count
from {{ ref('stg_realtime__readings') }} as reading
where
    reading.generation = (select cut.generation from cut)
    and reading.ledger_position > (select cut.base_position from cut)
    and reading.ledger_position <= (select cut.ledger_position from cut)
group by reading.user_id
