"""What the project's pages for people share: one light and one dark theme, and how Jinja is set up."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

THEME = Markup("""
:root { color-scheme: light dark; --text: #1d2430; --muted: #667085; --ground: #f6f7f9; --card: #fff; --rail: #e4e7ec;
  --ink: #0a7d5a; --bad: #c8322b; --good: #0a7d5a; --warn: #a15c00; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ef; --muted: #98a2b3; --ground: #12151b; --card: #1b2029;
  --rail: #323a47; --ink: #3ecf9a; --bad: #ff7b72; --good: #3ecf9a; --warn: #f0b35a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 1.2rem 1rem 3rem; }
h1 { font-size: 1.5rem; margin: .2rem 0; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; }
a { color: var(--ink); } code { font-size: .9em; } .muted { color: var(--muted); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { color: var(--muted); font-weight: 500; font-size: .85rem; text-align: left; white-space: nowrap; }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--rail); vertical-align: middle; }
.n { text-align: right; white-space: nowrap; } tr:last-child td { border-bottom: 0; }
.good, .up { color: var(--good); } .bad, .down { color: var(--bad); } .warn { color: var(--warn); }
.state { font-size: .8rem; padding: .05rem .5rem; border-radius: 1rem; border: 1px solid currentColor; white-space: nowrap; }
.state.idle { color: var(--muted); }
""")


def templates(folder: Path) -> Environment:
    """Templates of `folder`: every value is escaped, an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
