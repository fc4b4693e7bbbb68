"""Text of a PDF, page by page, through PDFium."""

from __future__ import annotations

from pathlib import Path

from tasks.ingest.extract_result import Extracted, joined

_PASSWORD = "password"  # how PDFium names the reason
_MAX_PAGES = 5_000
_OCR = "recognise its text first (OCR), e.g. with ocrmypdf, and give the result"


def text_of_pdf(path: Path, max_bytes: int) -> Extracted:
    """The text of all pages, pages parted by a blank line."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if _PASSWORD in str(error).lower():
            return Extracted(code="encrypted", words="is protected by a password", repair="save it without a password")
        return Extracted(code="damaged", words="is no PDF that can be opened", repair="export or fetch the file again")
    if len(document) > _MAX_PAGES:
        words = f"has more than {_MAX_PAGES} pages"
        return Extracted(code="too_large", words=words, repair="split it into several files")
    broken, pages = 0, list[str]()
    for number in range(len(document)):
        try:
            page = document[number]
            pages.append(page.get_textpage().get_text_range().replace("\r\n", "\n").replace("\r", "\n").strip())
            page.close()
        except pypdfium2.PdfiumError:
            broken += 1
        if sum(map(len, pages[-1:])) > max_bytes:
            break
    if broken:
        words = f"{broken} of its {len(document)} pages cannot be read"
        return Extracted(code="damaged", words=words, repair="export or fetch the file again")
    if not any(pages):
        return Extracted(code="no_text", words="holds no text, only pictures of it or nothing", repair=_OCR)
    return joined(pages, "\n\n", max_bytes)
