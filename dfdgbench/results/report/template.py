"""Templates to pages: everything that is put into one is escaped, and a page runs and fetches nothing but its own.

The policy in a page's head forbids every address but ``data:`` pictures, and allows the one style sheet and the one script
that the page holds, by their hashes. So a text from a record that got past the escaping would still do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dfdgbench import __version__
from dfdgbench.results.report.charts import clip

GENERATOR = "dfdgbench report"
_SCRIPTS = ("theme.js", "tables.js", "panel.js", "charts.js")
_STYLES = ("page.css", "tables.css", "charts.css")
# In JSON inside HTML: what could end the element, and what older scripts take for the end of a line.
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def render(template: str, **given: Any) -> str:
    """The template of this name with ``given``; an unknown name in it is an error."""
    return environment().get_template(template).render(**given)


def page(template: str, **given: Any) -> str:
    """A whole page: :func:`render` with the style sheet, the script and the policy that allows these two."""
    style, script = _assets(_STYLES), _assets(_SCRIPTS)
    policy = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return render(
        template,
        style=Markup(style),
        script=Markup(script),
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        generator=f"{GENERATOR} {__version__}",
        **given,
    )


def embedded(content: Any) -> Markup:
    """``content`` as JSON for a ``<script type="application/json">``; it must hold neither NaN nor infinities."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE))


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, with escaping on in all of them."""
    made = Environment(
        loader=PackageLoader("dfdgbench.results.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["clip"] = clip
    return made


@lru_cache(maxsize=4)
def _assets(names: tuple[str, ...]) -> str:
    folder = files("dfdgbench.results.report") / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
