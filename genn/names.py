"""Text from a model is untrusted: this file turns it into identifiers, comments and lines that cannot do harm."""

from __future__ import annotations

import re

from genn.errors import UsageError

KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "_Bool _Complex _Imaginary asm typeof class new delete template this namespace operator public private "
    "protected virtual bool true false try catch throw using "
)
C_KEYWORDS = frozenset(KEYWORDS.split())
HEADERS = (  # of the C library, which a network's NAME.h would hide
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg "
    "stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype unistd"
)
RESERVED = frozenset(
    {"genn", "main", "build", "int8_t", "int16_t", "int32_t", "uint8_t", "uint16_t", "uint32_t", *HEADERS.split()}
)


def check_name(name: str) -> str:
    """The user's ``-n NAME`` becomes C symbols and file names: refuse what cannot be one."""
    bad = not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name) or name in C_KEYWORDS or name.lower() in RESERVED
    if bad or name.lower().startswith("genn_"):
        raise UsageError(
            f"{name!r} cannot be the name of a network",
            "--name",
            "use up to 40 letters, digits and underscores, starting with a letter, and no word of C",
        )
    return name


def identifier(text: str, fallback: str = "net") -> str:
    """A C identifier close to ``text``: for defaults made from file and class names."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")[:40].strip("_")
    if not name or not name[0].isalpha():
        name = f"{fallback}_{name}".strip("_")[:40].strip("_")
    if name in C_KEYWORDS or name.lower() in RESERVED or name.lower().startswith("genn_"):
        name = f"net_{name}"[:40]
    return name


def comment(text: str, limit: int = 120) -> str:
    """``text`` made safe inside a C comment: printable ASCII, no comment marks, trigraphs or line continuations."""
    safe = "".join(c if " " <= c <= "~" else "?" for c in text)
    safe = safe.replace("\\", "/").replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def printable(string: str) -> str:
    """``string`` with what could steer a terminal (escapes, line breaks, reversed text) written as an escape."""
    if string.isprintable():
        return string
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in string)
