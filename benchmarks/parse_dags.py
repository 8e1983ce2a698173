"""Seconds to parse each DAG file, against the limits of DESIGN section 6: `make bench-parse`.

Each file in a fresh process that has imported Airflow, as the dag-processor's children have: what is counted
is what our file and all it imports add. The best of ROUNDS counts (the machine may be busy). Exit status 1
where a limit is broken, or a file does not parse.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EACH_S, TOGETHER_S, AIM_S = 2.0, 5.0, 1.0
ROUNDS = 3
_PARSE = """
import json, sys, time
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
file, folder, answer = map(Path, sys.argv[1:])
start = time.perf_counter()
bag = DagBag(file, load_op_links=False, bundle_path=folder, bundle_name="bench")
seconds = time.perf_counter() - start
tasks = sum(len(dag.tasks) for dag in bag.dags.values())
answer.write_text(json.dumps({"seconds": seconds, "tasks": tasks, "errors": list(bag.import_errors.values())}))
"""


class ParseError(RuntimeError):
    """A DAG file does not parse; the message has its trace."""


def parse(file: Path, environment: dict[str, str], scratch: Path) -> tuple[float, int]:
    """(seconds, tasks) of one parse in a fresh process; raises ParseError."""
    answer = scratch / "answer.json"
    answer.unlink(missing_ok=True)
    child = subprocess.run(
        [sys.executable, "-c", _PARSE, str(file), str(file.parent), str(answer)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not answer.exists():
        raise ParseError(f"{file.name}: {child.stderr.strip()}")
    found = json.loads(answer.read_text())
    if found["errors"]:
        raise ParseError(f"{file.name}: {found['errors'][0]}")
    return float(found["seconds"]), int(found["tasks"])


def build_environment(scratch: Path) -> dict[str, str]:
    """An Airflow of its own without a database, and a fresh dbt manifest."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    environment |= {
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "ASTRONOMER_COSMOS__TELEMETRY": "False",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(scratch),
        "WEBTOON_DBT_MANIFEST": str(scratch / "dbt" / "manifest.json"),
    }
    subprocess.run(
        [sys.executable, "-m", "include.dbt.command", "manifest"],
        env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return environment


def main() -> int:
    """Print a line a file and the sum; 1 where a limit is broken."""
    files = sorted((ROOT / "dags").glob("*.py"))
    if not files:
        print("no DAG file in dags/", file=sys.stderr)
        return 1
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    total = 0.0
    broken = []
    with tempfile.TemporaryDirectory(prefix="bench-parse-", dir=cache) as scratch:
        try:
            environment = build_environment(Path(scratch))
            for file in files:
                rounds = [parse(file, environment, Path(scratch)) for _ in range(ROUNDS)]
                seconds, tasks = min(rounds)
                total += seconds
                mark = "over the limit" if seconds > EACH_S else "ok" if seconds <= AIM_S else "over the aim"
                print(
                    f"{file.name:32} {seconds:6.2f} s  {tasks:3} tasks  limit {EACH_S:.0f} s  {mark}",
                    flush=True,
                )
                broken += [file.name] if seconds > EACH_S else []
        except (ParseError, subprocess.CalledProcessError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(
        f"{'together':32} {total:6.2f} s             limit {TOGETHER_S:.0f} s  {'ok' if total <= TOGETHER_S else 'over'}"
    )
    return 1 if broken or total > TOGETHER_S else 0


if __name__ == "__main__":
    sys.exit(main())
