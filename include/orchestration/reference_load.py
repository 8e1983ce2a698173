"""Tasks of reference__load: check a reference and say what it would change, then load it."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.common.reference import store as reference_store
from include.common.reference.csv_files import InvalidFilesError
from include.common.reference.doubtful import file_warnings
from include.common.reference.files import read_reference
from include.common.reference.store import Load, ReferenceStoreError
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
    "allow_mass_change": Param(
        False, type="boolean", title="Allow a mass change",
        description="Load also what removes or changes more rows of a table than thresholds reference_removed_share "
        "and reference_changed_share let pass. Look at a dry run first.",
    ),
}  # fmt: skip
"""The trigger form."""


def check_reference() -> dict[str, Any]:
    """Check the files of the run's source; returns what loading them would change, and what looks wrong."""
    return _load_or_fail(dry_run=True)


def load_reference() -> dict[str, Any]:
    """Load the files of the run's source; returns what changed, and what looks wrong. Skipped in a dry run."""
    if get_current_context()["params"]["dry_run"]:
        raise AirflowSkipException("a dry run: see in the log of check_reference what would change")
    return _load_or_fail(dry_run=False)


def load_source(dsn: str, source: str, *, dry_run: bool, allow_mass_change: bool = False) -> Load:
    """Read, check and load `source` (SIMULATOR or a folder). Raises InvalidFilesError, ReferenceStoreError."""
    with _folder(source) as folder:
        reference = read_reference(folder)
    load = reference_store.load_reference(
        dsn, reference, dry_run=dry_run, allow_mass_change=allow_mass_change
    )
    return replace(load, warnings=[*file_warnings(reference), *load.warnings])


def _load_or_fail(*, dry_run: bool) -> dict[str, Any]:
    params = get_current_context()["params"]
    source = params["source"].strip()
    # a dry run tells of a mass change; what loads must be allowed to
    allowed = params["allow_mass_change"] or params["dry_run"]
    try:
        load = load_source(features_dsn(), source, dry_run=dry_run, allow_mass_change=allowed)
    except (InvalidFilesError, ReferenceStoreError) as error:
        raise AirflowFailException(str(error)) from error  # a retry finds the same files
    verb = "would change" if dry_run else "changed"
    log.info(
        "loading %s %s:", source, verb if any(not it.is_empty for it in load.changes) else f"{verb} nothing"
    )
    for changes in load.changes:
        log.info("%s", changes.describe())
    for sentence in load.mass_changes:
        log.warning("a mass change, refused without allow_mass_change: %s", sentence)
    for sentence in load.warnings:
        log.warning("%s", sentence)
    return asdict(load)


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
