-- Schemas of the feature store. Each table has exactly one writer, named in its comment.
CREATE SCHEMA reference;
CREATE SCHEMA realtime;
CREATE SCHEMA marts_candidate;
CREATE SCHEMA marts;
CREATE SCHEMA serving;
CREATE SCHEMA quality;
CREATE SCHEMA ops;
COMMENT ON SCHEMA reference IS 'writer: reference__load; rows versioned by [valid_from, valid_to)';
COMMENT ON SCHEMA realtime IS 'writer: the stream (stream__sessionize), one transaction a micro-batch';
COMMENT ON SCHEMA marts_candidate IS 'writer: dbt in features__model; nobody serves from here';
COMMENT ON SCHEMA marts IS 'writer: the publish task of features__model; only rows that passed their gate';
COMMENT ON SCHEMA serving IS 'views only; what a recommender reads';
