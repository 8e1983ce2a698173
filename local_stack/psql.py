"""`make psql`: the embedded PostgreSQL's own shell on WEBTOON_POSTGRES_DSN; arguments go to psql."""

import os
import subprocess
import sys

from psycopg.conninfo import conninfo_to_dict

from include.common.settings import SettingsError, require
from local_stack.paths import postgres_bin

_VARIABLES = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE",
}  # fmt: skip


def main() -> int:
    """Run psql; its exit status, 1 where the environment has no stack."""
    try:
        dsn = conninfo_to_dict(require("WEBTOON_POSTGRES_DSN"))
    except SettingsError as error:
        print(f"psql: {error}", file=sys.stderr)
        return 1
    # by the environment: a password on the command line is in the process list
    os.environ.update({variable: str(dsn[name]) for name, variable in _VARIABLES.items() if name in dsn})
    return subprocess.run([str(postgres_bin() / "psql"), *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
