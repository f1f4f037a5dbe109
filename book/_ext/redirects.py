"""Pages that lead on from addresses that the book had before: `redirects` in _config.yml maps each to its new one."""

import os
from pathlib import Path

from sphinx.errors import ExtensionError

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>This page has moved</title>
<meta http-equiv="refresh" content="0; url={target}"><link rel="canonical" href="{target}"></head>
<body><p>This page has moved: <a href="{target}">{target}</a>.</p></body></html>
"""


def write(app, exception):
    """Write a page for each old address; a target that is not in the book is an error."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for old, new in app.config.redirects.items():
        name, _, anchor = new.partition("#")
        if not (out / f"{name}.html").is_file():
            raise ExtensionError(f"redirects: {old} leads to {name}, which is no page of the book")
        page = out / f"{old}.html"
        target = f"{os.path.relpath(out / name, page.parent)}.html" + (f"#{anchor}" if anchor else "")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(PAGE.format(target=target), encoding="utf-8")


def setup(app):
    """Register the mapping, and write the pages after the others."""
    app.add_config_value("redirects", {}, "html")
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
