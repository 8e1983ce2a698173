"""DuckDB as the DAG opens it."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from include.orchestration.reconcile.duck import open_duckdb


@pytest.fixture(scope="session")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    scratch: Path = tmp_path_factory.mktemp("duckdb")
    with open_duckdb(scratch, "1GB") as opened:
        yield opened
