"""How Cosmos runs the dbt project: the one place, so that no DAG repeats a configuration block.

The DAG is drawn from manifest.json, made at set-up (`python -m include.dbt.command manifest`): parsing it
neither starts dbt nor needs a database.
"""

from typing import Any

from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
from cosmos.profiles import PostgresUserPasswordProfileMapping

from include.common.names import Conn, Pg, Pool
from include.dbt.command import PROJECT_DIR, manifest_path


class ManifestMissingError(FileNotFoundError):
    """The dbt manifest was not built; the message says how to build it."""


def _project_config() -> ProjectConfig:
    path = manifest_path()
    if not path.is_file():
        raise ManifestMissingError(
            f"dbt manifest {path} is missing. Build it with `python -m include.dbt.command manifest` "
            f"(make dbt-manifest; the image build does it), or point WEBTOON_DBT_MANIFEST to it."
        )
    return ProjectConfig(
        dbt_project_path=PROJECT_DIR,
        manifest_path=path,
        project_name="webtoon",
        install_dbt_deps=False,
        # dbt's unit tests are for CI; a run of the DAG tests data
        env_vars={"DBT_EXCLUDE_RESOURCE_TYPES": "unit_test", "DO_NOT_TRACK": "1"},
        partial_parse=True,
    )


def _profile_config() -> ProfileConfig:
    return ProfileConfig(
        profile_name="webtoon",
        target_name="store",
        profile_mapping=PostgresUserPasswordProfileMapping(
            conn_id=Conn.POSTGRES,
            profile_args={"schema": Pg.MARTS_CANDIDATE_SCHEMA, "threads": 2, "application_name": "dbt"},
        ),
    )


def dbt_group(group_id: str, *select: str, mode: ExecutionMode = ExecutionMode.LOCAL) -> DbtTaskGroup:
    """Task group of the models that dbt's selectors `select` name, each model followed by its tests.

    Raises ManifestMissingError. Must be called inside a DAG.
    """
    watcher: dict[str, Any] = (
        {"deferrable": True, "poke_interval": 1} if mode is ExecutionMode.WATCHER else {}
    )
    return DbtTaskGroup(
        group_id=group_id,
        project_config=_project_config(),
        profile_config=_profile_config(),
        execution_config=ExecutionConfig(
            execution_mode=mode,
            setup_operator_args={"pool": Pool.DBT} if mode is ExecutionMode.WATCHER else None,
            invocation_mode=None if mode is ExecutionMode.WATCHER else InvocationMode.DBT_RUNNER,
        ),
        render_config=RenderConfig(
            select=list(select),
            load_method=LoadMode.DBT_MANIFEST,
            test_behavior=TestBehavior.AFTER_EACH,
            group_nodes_by_folder=True,
            exclude=["resource_type:exposure"],
            emit_datasets=False,  # the asset is the published marts, not the candidate
            enable_owner_inheritance=False,
        ),
        operator_args={"install_deps": False, **({} if watcher else {"pool": Pool.DBT}), **watcher},
    )
