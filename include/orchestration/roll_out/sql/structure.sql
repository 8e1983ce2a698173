-- $1 the schema.
-- What is defined in the tables of a schema, a line each, with the schema's own name left out.
WITH tables AS (
    SELECT oid, relname, reloptions, relacl, relpersistence
    FROM pg_class
    WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'p')
),

lines AS (
    SELECT
        format('table %s', relname) AS what,
        format('%s %s %s', relpersistence, reloptions, relacl) AS definition
    FROM tables
    UNION ALL
    SELECT
        format('column %s.%s', relname, attname),
        format(
            '%s %s %s %s', format_type(atttypid, atttypmod), nullif(attcollation, 0)::regcollation,
            CASE WHEN attnotnull THEN 'NOT NULL' END, pg_get_expr(adbin, adrelid)
        )
    FROM tables
    INNER JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = tables.oid AND adnum = attnum
    UNION ALL
    SELECT format('constraint %s.%s', relname, conname), pg_get_constraintdef(pg_constraint.oid)
    FROM tables
    INNER JOIN pg_constraint ON conrelid = tables.oid AND contype <> 'n'
    UNION ALL
    SELECT format('index of %s', relname), pg_get_indexdef(indexrelid)
    FROM tables
    INNER JOIN pg_index ON indrelid = tables.oid
    UNION ALL
    SELECT format('trigger %s.%s', relname, tgname), pg_get_triggerdef(pg_trigger.oid)
    FROM tables
    INNER JOIN pg_trigger ON tgrelid = tables.oid AND NOT tgisinternal
)

SELECT what, replace(definition, $1::text || '.', '') AS definition
FROM lines
ORDER BY what, definition
