"""How Cosmos runs the dbt project: the one place, so that no DAG repeats a configuration block.

The DAG is drawn from manifest.json, made at set-up (`make dbt-manifest`): parsing it neither starts dbt nor
needs a database.
"""

from pathlib import Path
from typing import Any, Final

from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
from cosmos.operators.local import DbtDocsLocalOperator
from cosmos.profiles import PostgresUserPasswordProfileMapping

from include.common.names import Conn, Pg, Pool
from include.dbt.command import PROJECT_DIR, keep_docs, manifest_path
from include.orchestration.dbt.build import after_build
from include.orchestration.dbt.docs import record_build


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


MODELS: Final = ("path:models/intermediate", "path:models/marts")
"""All but staging, which is ephemeral. It must not be excluded instead: Cosmos hands exclusions on to `dbt test`, where
that one takes every test along that looks at a source."""


def dbt_group(
    group_id: str, *select: str, full_refresh: str, execution_mode: ExecutionMode = ExecutionMode.WATCHER
) -> DbtTaskGroup:
    """Task group of the models that dbt's selectors `select` name, each model followed by its tests.

    One task (`dbt_producer_watcher`) runs `dbt build`, the models' own tasks follow what it says of them (docs/adr/0015);
    cleared, or where it fails, each runs its model by itself. A model waits for the models that it reads, and their
    tests, and for nothing else. `full_refresh` is a template that renders to True where incremental models are built
    anew. A test that only warns is recorded and told to Slack. Raises ManifestMissingError. Must be called inside a DAG.
    """
    is_watcher = execution_mode is ExecutionMode.WATCHER
    return DbtTaskGroup(
        group_id=group_id,
        project_config=_project_config(),
        profile_config=_profile_config(),
        execution_config=ExecutionConfig(
            execution_mode=execution_mode,
            invocation_mode=InvocationMode.DBT_RUNNER,
            setup_operator_args={"callback": after_build} if is_watcher else None,
        ),
        render_config=RenderConfig(
            select=list(select),
            load_method=LoadMode.DBT_MANIFEST,
            test_behavior=TestBehavior.AFTER_EACH,
            exclude=["resource_type:exposure"],
            emit_datasets=False,  # the asset is the published marts, not the candidate
            enable_owner_inheritance=False,
        ),
        operator_args={"pool": Pool.DBT, "full_refresh": full_refresh},
    )


def dbt_docs_operator(task_id: str) -> DbtDocsLocalOperator:
    """Task that writes dbt's docs as one static page into the docs folder. Must be called inside a DAG."""
    return DbtDocsLocalOperator(
        task_id=task_id,
        project_dir=str(PROJECT_DIR),
        profile_config=_profile_config(),
        invocation_mode=InvocationMode.DBT_RUNNER,
        dbt_cmd_flags=["--static"],
        callback=_keep_docs,
        install_deps=False,
        emit_datasets=False,
        should_store_compiled_sql=False,
        pool=Pool.DBT,
    )


def _keep_docs(project_dir: str, **_: Any) -> None:
    """What Cosmos calls after dbt, also after a failure; `project_dir` is its temporary copy of the project."""
    target = Path(project_dir) / "target"
    if (target / "static_index.html").is_file():
        keep_docs(target)
        record_build()
