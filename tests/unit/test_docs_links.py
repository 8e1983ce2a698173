"""Every relative link of a Markdown page of ours points at a file or folder that is there."""

import re
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("benchmarks", "dags", "deploy", "docs", "include", "local_stack", "plugins", "tests")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages(root: Path) -> Iterator[Path]:
    yield from root.glob("*.md")
    for folder in FOLDERS:
        yield from (root / folder).rglob("*.md")


def test_relative_links_lead_somewhere(project_root: Path) -> None:
    checked, dead = 0, []
    for page in pages(project_root):
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            path = target.partition("#")[0]
            if "://" in target or not path:
                continue
            checked += 1
            if not (page.parent / path).exists():
                dead.append(f"{page.relative_to(project_root)}: {target}")
    assert dead == []
    assert checked > 30, "no pages were read"
