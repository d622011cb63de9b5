"""Texts of users, and of errors, as one can read them: no control character of theirs reaches a terminal."""

from __future__ import annotations

import re

FORBIDDEN = re.compile("[^\t\n\x20-\x7e\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters and escapes, what turns the direction of a line round, lone surrogates."""


def seen(text: str) -> str:
    """Text of any number of lines for a terminal: what would do something there is a replacement character."""
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def line(text: str) -> str:
    """Text in one line, for a terminal and for XML."""
    return seen(" ".join(text.split()))
