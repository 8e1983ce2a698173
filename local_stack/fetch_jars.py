"""Fetch the jars with Maven into .jars/, with a local repository inside the project; a second run does nothing."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from local_stack.commands import tail
from local_stack.errors import StackError
from local_stack.paths import JARS_DIR, PROJECT_ROOT

SETS = ("spark", "kafka")
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_LOCAL_REPOSITORY = PROJECT_ROOT / ".cache" / "m2"


def _pom(name: str) -> Path:
    return PROJECT_ROOT / "local_stack" / "jars" / name / "pom.xml"


def up_to_date(folder: Path, pom: Path) -> bool:
    """Does `folder` hold what `pom` asked for when it was filled, and nothing less since?"""
    stamp = folder / ".complete"
    if not stamp.exists():
        return False
    digest, _, names = stamp.read_text().partition("\n")
    return digest == hashlib.sha256(pom.read_bytes()).hexdigest() and all(
        (folder / name).exists() for name in names.split()
    )


def fetch(name: str) -> None:
    """Fill .jars/<name> through a folder that is renamed when it is whole."""
    folder, pom = JARS_DIR / name, _pom(name)
    if up_to_date(folder, pom):
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "mvn not found. Install Maven: sudo apt-get install maven (macOS: brew install maven)"
        )
    print(f"fetching the {name} jars with Maven (10 s to 2 minutes) ...", flush=True)
    partial = JARS_DIR / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    log = PROJECT_ROOT / ".cache" / f"maven-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [
        maven, "-B", "-ntp", "-Dstyle.color=never", f"-Dmaven.repo.local={_LOCAL_REPOSITORY}", "-f", str(pom),
        PLUGIN, "-DincludeScope=runtime", f"-DoutputDirectory={partial}",
    ]  # fmt: skip
    with log.open("wb") as output:
        code = subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code != 0:
        raise StackError(
            f"Maven could not fetch the {name} jars (exit status {code}). Is the network, or the mirror in your "
            f"Maven settings, reachable?\n{tail(log)}"
        )
    names = sorted(jar.name for jar in partial.glob("*.jar"))
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()
    (partial / ".complete").write_text("\n".join([digest, *names]) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def main() -> int:
    """Fetch all sets; 1 and one message where that fails."""
    try:
        for name in SETS:
            fetch(name)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
