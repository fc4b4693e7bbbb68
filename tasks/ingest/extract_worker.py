"""The process that extracts text from web pages, PDFs and Word documents: `python -m tasks.ingest.extract_worker`.

It reads one JSON object a line from standard input (format, path, max_bytes) and answers with one a line. It may crash,
hang or be refused memory without harm to the process that asked, and ends with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path

from tasks.ingest.extract_result import NOT_INSTALLED, Extracted

_PR_SET_PDEATHSIG = 1
_NO_MEMORY = Extracted(code="too_large", words="needs more memory than one document may have", repair="split it")


def main() -> None:
    """Answer until standard input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        print(
            json.dumps(_extracted(asked["format"], Path(asked["path"]), asked["max_bytes"])), file=answers, flush=True
        )


def _extracted(format: str, path: Path, max_bytes: int) -> Extracted:
    try:
        if format == "pdf":
            from tasks.ingest.extract_pdf import text_of_pdf

            return text_of_pdf(path, max_bytes)
        if format == "docx":
            from tasks.ingest.extract_docx import text_of_docx

            return text_of_docx(path, max_bytes)
        from tasks.ingest.extract_html import text_of_html

        return text_of_html(path, max_bytes)
    except ImportError as error:
        return Extracted(code=NOT_INSTALLED, words=str(error).splitlines()[0])
    except MemoryError:
        return _NO_MEMORY
    except Exception as error:  # libraries raise anything about a damaged file; its text could quote the document
        return Extracted(code="damaged", words=f"cannot be read ({type(error).__name__})", repair="export it again")


if __name__ == "__main__":
    main()
