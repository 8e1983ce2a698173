"""dbt outside Airflow: `python -m include.dbt.command manifest | docs | <any dbt command and its options>`.

`manifest` writes the project's manifest.json, which the DAG is built from (made at set-up or image build,
needs no database). `docs` writes dbt's docs as static pages into the docs folder that the stack serves.
Anything else is handed to dbt with this project and the store of WEBTOON_POSTGRES_DSN; the password travels
in the environment.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from include.common.settings import SettingsError, docs_root, require

PROJECT_DIR = Path(__file__).parent / "webtoon"
DEFAULT_MANIFEST = PROJECT_DIR / "target" / "manifest.json"


class DbtFailedError(RuntimeError):
    """dbt said no; the message has its last word, its log the rest."""


def manifest_path() -> Path:
    """Where the manifest stands: WEBTOON_DBT_MANIFEST, or the project's target folder."""
    return Path(os.environ.get("WEBTOON_DBT_MANIFEST") or DEFAULT_MANIFEST)


def model_version() -> str:
    """Hash of what the marts are computed by: models, macros and project file (not tests and descriptions)."""
    files = sorted([PROJECT_DIR / "dbt_project.yml", *PROJECT_DIR.glob("m*/**/*.sql")])
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(PROJECT_DIR).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def store_environment(dsn: str) -> dict[str, str]:
    """What profiles.yml reads, from a libpq URI; raises SettingsError for what is no such URI."""
    parts = urlsplit(dsn)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.path.strip("/"):
        raise SettingsError(
            "WEBTOON_POSTGRES_DSN is not of the form postgresql://user:password@host:port/database"
        )
    return {
        "WEBTOON_PG_HOST": parts.hostname,
        "WEBTOON_PG_PORT": str(parts.port or 5432),
        "WEBTOON_PG_USER": unquote(parts.username or ""),
        "DBT_ENV_SECRET_WEBTOON_PG_PASSWORD": unquote(parts.password or ""),
        "WEBTOON_PG_DATABASE": unquote(parts.path.strip("/")),
    }


def run_dbt(
    arguments: Sequence[str], store: Mapping[str, str] | None = None, target_dir: Path | None = None
) -> None:
    """Run one dbt command of the project in this process; raises DbtFailedError.

    `store` is what `store_environment` gives (None: a command that needs no database). `target_dir`: where
    dbt writes its artefacts, by default the project's own target folder.
    """
    from dbt.cli.main import dbtRunner

    folders = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
    if target_dir is not None:
        folders += ["--target-path", str(target_dir), "--log-path", str(target_dir / "logs")]
    before = dict(os.environ)
    os.environ.update(store or {})
    try:
        result = dbtRunner().invoke([*arguments, *folders])
    finally:
        os.environ.clear()
        os.environ.update(before)
    if not result.success:
        failed = [
            f"{node.node.unique_id}: {' '.join(str(node.message).split())}"
            for node in getattr(result.result, "results", None) or []
            if node.status in ("error", "fail", "runtime error")
        ]
        raise DbtFailedError(f"dbt {' '.join(arguments)}: {'; '.join(failed) or result.exception}")


def build_manifest() -> Path:
    """Write the manifest where the DAG looks for it; returns that path."""
    path = manifest_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".parse-") as folder:
        run_dbt(["parse", "--quiet"], target_dir=Path(folder))
        # Airflow parses the DAG from it every half minute: never show a half-written one
        (Path(folder) / "manifest.json").replace(path)
    return path


def build_docs(dsn: str) -> Path:
    """Write dbt's docs as one static page into the docs folder; returns the page."""
    with TemporaryDirectory() as folder:
        run_dbt(["docs", "generate", "--static", "--quiet"], store_environment(dsn), Path(folder))
        return keep_docs(Path(folder))


def keep_docs(target_dir: Path) -> Path:
    """Take the static page of `dbt docs generate --static` out of `target_dir`; returns `<docs folder>/dbt/index.html`.

    Raises SettingsError where there is no docs folder.
    """
    root = docs_root()
    if root is None:
        raise SettingsError(
            "there is no docs folder: set WEBTOON_DOCS_DIR, or join a stack (source .stack/env)"
        )
    page = root / "dbt" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    half_written = page.with_suffix(".tmp")
    shutil.copyfile(target_dir / "static_index.html", half_written)
    half_written.replace(page)
    return page


def main(arguments: Sequence[str]) -> int:
    """Command line; see the module."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        if list(arguments) == ["manifest"]:
            print(build_manifest())
        elif list(arguments) == ["docs"]:
            print(build_docs(require("WEBTOON_POSTGRES_DSN")))
        else:
            run_dbt(arguments, store_environment(require("WEBTOON_POSTGRES_DSN")))
    except (DbtFailedError, SettingsError) as error:
        print(f"dbt: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
