"""What reports have in common: text that stays text, and the frame of a page of HTML. Pure."""

import re
from html import escape

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""Of an answer that is a page of HTML: it loads nothing."""

_MARKED = re.compile(r"([\\`*_{}\[\]<>#|~!])")
_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --faint: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
"""


def plain(text: str) -> str:
    """Text of which nothing is taken for Markdown or HTML."""
    escaped = _MARKED.sub(r"\\\1", text)
    lines = [re.sub(r"^(\s*)([-+=]|\d+[.)])", r"\1\\\2", line) for line in escaped.replace("&", "&amp;").split("\n")]
    return "  \n".join(line.strip() for line in lines)


def opening(title: str, said: str, style: str) -> str:
    """A page up to its heading and the line below it."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n<p>{escape(said)}</p>\n"
    )


CLOSING = "</body>\n</html>\n"
