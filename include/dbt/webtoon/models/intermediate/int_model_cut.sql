-- One row: the open cut, the published cut that it is computed from, and the settings in force when it was fixed.
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
    cut.popularity_epoch,
    cut.as_of - make_interval(secs => thresholds.popularity_window_days * 86400) as popularity_window_start,
    thresholds.popularity_window_days,
    thresholds.popularity_half_life_hours,
    thresholds.popularity_exited_weight,
    base.cut_id as base_cut_id,
    -- rows copied from an earlier generation have position 0: before the first one is -1
    coalesce(base.ledger_position, -1) as base_position,
    base.as_of - make_interval(secs => thresholds.popularity_window_days * 86400) as base_window_start,
    {{ is_full_refresh() }} as is_full_refresh
from {{ ref('stg_ops__model_cuts') }} as cut
inner join thresholds on cut.cut_id = thresholds.cut_id
left join {{ ref('stg_ops__model_cuts') }} as base
    on
        cut.base_cut_id = base.cut_id
        and not {{ is_full_refresh() }}
