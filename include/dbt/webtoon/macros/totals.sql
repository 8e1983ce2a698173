{% macro drop_totals_after_base() %}
{#- Pre-hook of a model of totals: takes out what cuts that were never published added, also an earlier try of this one.
    Totals have a row a key and cut that changed it, so that those of the base are still there. -#}
{% if is_incremental() %}
delete from {{ this }}
where cut_id > coalesce((select base_cut_id from {{ ref('int_model_cut') }}), -1)
{% endif %}
{% endmacro %}

{% macro drop_superseded_totals(keys) %}
{#- Post-hook of a model of totals: of each key that this cut changed keeps its row and the one of the base. `keys`:
    columns that identify a row besides cut_id. -#}
{% if is_incremental() %}
delete from {{ this }} as old
using {{ this }} as added
where
    added.cut_id = (select cut_id from {{ ref('int_model_cut') }})
    {% for key in keys %}
    and old.{{ key }} = added.{{ key }}
    {% endfor %}
    and old.cut_id < (
        select max(base.cut_id)
        from {{ this }} as base
        where
            base.cut_id < added.cut_id
            {% for key in keys %}
            and base.{{ key }} = added.{{ key }}
            {% endfor %}
    )
{% endif %}
{% endmacro %}
