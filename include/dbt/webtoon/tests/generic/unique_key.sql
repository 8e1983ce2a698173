{% test unique_key(model, columns) %}
-- Combinations of `columns` that stand in more than one row.
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
