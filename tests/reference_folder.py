"""A small reference as CSV files, for tests: valid, and easy to spoil."""

from pathlib import Path

FILES = {
    "titles.csv": "title_id,name,genre,tags\nt1,달빛 우체국,romance,slow burn;office\nt2,Gates,fantasy,\n",
    "episodes.csv": (
        "episode_id,title_id,episode_number,rating,launch_date\n"
        "e1,t1,1,8.25,2026-01-05\ne2,t1,2,7,2026-01-12\ne3,t2,1,6.5,2025-12-31\n"
    ),
    "country_time_zones.csv": "country,time_zone\nKR,Asia/Seoul\nIN,Asia/Kolkata\n",
    "experiments.csv": (
        "experiment,variant,share\nviewer,control,0.5\nviewer,paged,0.5\n"
        "badge,a,0.33333\nbadge,b,0.33333\nbadge,c,0.33334\n"
    ),
}


class ReferenceFolder:
    """Files of a reference in a folder of the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, content: str | bytes) -> "ReferenceFolder":
        """Replace a file's content."""
        data = content if isinstance(content, bytes) else content.encode()
        (self.path / name).write_bytes(data)
        return self

    def edit(self, name: str, old: str, new: str) -> "ReferenceFolder":
        """Replace `old`, which must be there once, by `new`."""
        text = (self.path / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        return self.write(name, text.replace(old, new))

    def remove(self, name: str) -> "ReferenceFolder":
        """Delete a file."""
        (self.path / name).unlink()
        return self
