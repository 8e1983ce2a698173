-- One row: the open cut, and the settings in force when it was fixed.
with thresholds as (
    select
        cut.cut_id,
        max(threshold.value) filter (where threshold.name = 'popularity_window_days') as popularity_window_days,
        max(threshold.value) filter (where threshold.name = 'popularity_half_life_hours') as popularity_half_life_hours,
        max(threshold.value) filter (where threshold.name = 'popularity_exited_weight') as popularity_exited_weight
    from {{ ref('stg_ops__model_cuts') }} as cut
    left join {{ ref('stg_reference__thresholds') }} as threshold
        on
            cut.fixed_at >= threshold.valid_from
            and cut.fixed_at < threshold.valid_to
    where cut.status = 'open'
    group by cut.cut_id
)

select
    cut.cut_id,
    cut.generation,
    cut.ledger_position,
    cut.as_of,
    cut.fixed_at,
    thresholds.popularity_window_days,
    thresholds.popularity_half_life_hours,
    thresholds.popularity_exited_weight
from {{ ref('stg_ops__model_cuts') }} as cut
inner join thresholds on cut.cut_id = thresholds.cut_id
