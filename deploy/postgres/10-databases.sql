-- Run once, by the superuser, when the volume of features-postgres is new: the roles and databases that
-- local_stack.postgres_server makes natively. No role may look into another's database. The tables of
-- `features` are made by DAG ops__migrate_store, those of `metastore` by the metastore's start.
\getenv features_password WEBTOON_FEATURES_PASSWORD
\getenv hive_password WEBTOON_HIVE_PASSWORD
CREATE ROLE webtoon LOGIN PASSWORD :'features_password';
CREATE DATABASE features OWNER webtoon;
REVOKE ALL ON DATABASE features FROM PUBLIC;
CREATE ROLE hive LOGIN PASSWORD :'hive_password';
CREATE DATABASE metastore OWNER hive;
REVOKE ALL ON DATABASE metastore FROM PUBLIC;
