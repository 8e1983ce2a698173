"""Does dbt's docs page show the project as it is? For `ops__build_docs`."""

import hashlib
import logging
from pathlib import Path

from include.common.settings import docs_root
from include.dbt.command import manifest_path

log = logging.getLogger(__name__)


def find_change() -> bool:
    """True where the page has to be built: the manifest is another than the one it was built from, or none was."""
    root = docs_root()
    if root is None:
        log.info("no docs folder (WEBTOON_DOCS_DIR): nothing to build")
        return False
    stamp = _stamp(root)
    return not stamp.is_file() or stamp.read_text() != _fingerprint()


def record_build() -> None:
    """Remember what the page was built from."""
    root = docs_root()
    if root is not None:
        _stamp(root).write_text(_fingerprint())


def _stamp(root: Path) -> Path:
    return root / "dbt" / "manifest.sha256"


def _fingerprint() -> str:
    return hashlib.sha256(manifest_path().read_bytes()).hexdigest()
