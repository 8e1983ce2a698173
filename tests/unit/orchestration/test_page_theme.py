"""Pages for people: light and dark, nothing from elsewhere, values escaped, a misspelt name an error."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from include.orchestration.pages.theme import THEME, templates


def test_the_theme_is_light_and_dark_and_loads_nothing() -> None:
    assert "prefers-color-scheme: dark" in THEME
    assert "url(" not in THEME
    assert "@import" not in THEME


def test_values_are_escaped_and_a_name_that_nobody_gave_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html.j2").write_text("{{ name }}")
    page = templates(tmp_path).get_template("page.html.j2")
    assert page.render(name="<b>&") == "&lt;b&gt;&amp;"
    with pytest.raises(UndefinedError):
        page.render(nmae="x")
