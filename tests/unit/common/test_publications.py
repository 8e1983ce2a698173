"""What a publication leaves behind counts as young, however old it is."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from include.common.hive.metastore import Metastore
from include.common.hive.publications import point_published
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.tables import SESSION_FEATURES


class Pointed(Metastore):
    """Partitions without a metastore."""

    def __init__(self, folders: dict[PartitionValues, Path]) -> None:
        super().__init__(None)
        self.folders = folders

    def locations(
        self, table: HiveTable, partitions: Sequence[PartitionValues]
    ) -> dict[PartitionValues, Path]:
        return {values: self.folders[values] for values in partitions if values in self.folders}

    def point_partitions(self, table: HiveTable, folders: Mapping[PartitionValues, Path]) -> None:
        self.folders |= folders


def test_a_folder_that_is_left_counts_from_then(tmp_path: Path) -> None:
    left, stays = tmp_path / "left", tmp_path / "stays"
    for folder in (left, stays):
        folder.mkdir()
        os.utime(folder, (1, 1))
    metastore = Pointed({("1",): left, ("2",): tmp_path / "gone", ("3",): stays})
    new = {(number,): tmp_path / f"new-{number}" for number in "124"}
    point_published(metastore, SESSION_FEATURES, new)
    assert metastore.folders == {**new, ("3",): stays}
    assert time.time() - left.stat().st_mtime < 60
    assert stays.stat().st_mtime == 1
