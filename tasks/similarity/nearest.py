"""The nearest text of a corpus: what the copy-the-nearest-row baseline answers with."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCK_ROWS = 512


def nearest(queries: Sequence[str], corpus: Sequence[str]) -> list[int]:
    """For each query the index of the corpus text with the highest cosine similarity; ties go to the earlier text.

    Vectors are TF-IDF weights of words and word pairs beside those of 3 to 5 characters inside words.

    Raises:
        ValueError: the corpus is empty.
    """
    if not corpus:
        raise ValueError("the corpus is empty")
    if not queries:
        return []
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]")  # noqa: S106
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    vectorizers = (words, characters)
    known = hstack([v.fit_transform(corpus) for v in vectorizers]).tocsr()
    asked = hstack([v.transform(queries) for v in vectorizers]).tocsr()
    found: list[int] = []
    for start in range(0, asked.shape[0], _BLOCK_ROWS):
        scores = (asked[start : start + _BLOCK_ROWS] @ known.T).toarray()
        found += [int(i) for i in scores.argmax(axis=1)]
    return found
