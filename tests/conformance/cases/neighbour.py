"""A module beside the pipeline."""

import unicodedata

EXTRA = 0.5


def cleaned(text: str) -> str:
    """Lower case, composed."""
    return unicodedata.normalize("NFC", text).lower()
