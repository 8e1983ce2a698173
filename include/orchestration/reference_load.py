"""Tasks of reference__load: check a reference and say what it would change, then load it."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.common import reference_store
from include.common.csv_files import InvalidFilesError
from include.common.reference_files import read_reference
from include.common.reference_store import Changes, ReferenceStoreError
from include.orchestration.job_environment import features_dsn

log = logging.getLogger(__name__)

SIMULATOR: Final = "simulator"
PARAMS: Final = {
    "source": Param(
        SIMULATOR, type="string", minLength=1, title="Where the reference comes from",
        description="`simulator`: the catalogue of the simulated service. Or the absolute path of a folder with "
        "titles.csv, episodes.csv, country_time_zones.csv, experiments.csv and perhaps thresholds.csv, readable by "
        "Airflow's workers.",
    ),
    "dry_run": Param(
        False, type="boolean", title="Dry run", description="Check everything, report what would change, change nothing."
    ),
}  # fmt: skip
"""The trigger form."""


def check_reference() -> list[dict[str, Any]]:
    """Check the files of the run's source; returns what loading them would change, by table."""
    return [asdict(changes) for changes in _load_or_fail(dry_run=True)]


def load_reference() -> list[dict[str, Any]]:
    """Load the files of the run's source; returns what changed, by table. Skipped in a dry run."""
    if get_current_context()["params"]["dry_run"]:
        raise AirflowSkipException("a dry run: see in the log of check_reference what would change")
    return [asdict(changes) for changes in _load_or_fail(dry_run=False)]


def load_source(dsn: str, source: str, *, dry_run: bool) -> list[Changes]:
    """Read, check and load `source` (SIMULATOR or a folder). Raises InvalidFilesError, ReferenceStoreError."""
    with _folder(source) as folder:
        reference = read_reference(folder)
    return reference_store.load_reference(dsn, reference, dry_run=dry_run)


def _load_or_fail(*, dry_run: bool) -> list[Changes]:
    source = get_current_context()["params"]["source"].strip()
    try:
        found = load_source(features_dsn(), source, dry_run=dry_run)
    except (InvalidFilesError, ReferenceStoreError) as error:
        raise AirflowFailException(str(error)) from error  # a retry finds the same files
    verb = "would change" if dry_run else "changed"
    log.info("loading %s %s:", source, verb if any(not it.is_empty for it in found) else f"{verb} nothing")
    for changes in found:
        log.info("%s", changes.describe())
    return found


@contextmanager
def _folder(source: str) -> Iterator[Path]:
    if source != SIMULATOR:
        if not Path(source).is_absolute():
            raise InvalidFilesError(
                f"source {source!r} is neither {SIMULATOR!r} nor an absolute path: trigger again with one of them"
            )
        yield Path(source)
        return
    from include.simulator.catalogue import write_reference

    with tempfile.TemporaryDirectory(prefix="reference-") as folder:
        write_reference(Path(folder))
        yield Path(folder)
