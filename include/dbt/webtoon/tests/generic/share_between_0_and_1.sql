{% test share_between_0_and_1(model, column_name) %}
-- Rows whose share is outside [0, 1]; NULL passes (not_null says whether it may be).
select {{ column_name }}
from {{ model }}
where not {{ column_name }} between 0 and 1
{% endtest %}
