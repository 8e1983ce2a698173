"""How the dbt project runs in Airflow, for every DAG that builds models.

- `cosmos_config`: task groups and operators, drawn by Cosmos from the manifest
- `build`: what follows a build: warnings of tests told, each model's lineage
- `docs`: is dbt's docs page up to date?

The project itself and its command line are in `include/dbt`; what a DAG does with the marts is in `include.orchestration.model`.
"""
