"""The main text of a web page as Markdown, through trafilatura: without menus, banners and footers."""

from __future__ import annotations

from pathlib import Path

from tasks.ingest.extract_result import Extracted, joined


def text_of_html(path: Path, max_bytes: int) -> Extracted:
    """Headings, paragraphs, lists, quotes, code and tables of the page's main part."""
    from trafilatura import extract

    if path.stat().st_size > max_bytes:
        return Extracted(code="too_large", words=f"is longer than {max_bytes >> 20} MB", repair="split the page")
    text = extract(
        path.read_bytes(), output_format="markdown", include_comments=False, include_tables=True, favor_recall=True
    )
    if not text or not text.strip():
        return Extracted(
            code="no_text",
            words="holds no main text that could be told from menus and scripts",
            repair="save the page as text or Markdown",
        )
    return joined([text], "", max_bytes)
