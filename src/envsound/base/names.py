"""Names of files that come from anywhere, as text that can be printed, written as UTF-8 and shown in Markdown."""


def printable(name: str) -> str:
    """Return a name with an escape for every character that does not print: line breaks, bytes that are no UTF-8."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def code_span(name: str) -> str:
    """Return a name as a Markdown code span, inside which nothing is markup; backticks become apostrophes."""
    return f"`{printable(name).replace('`', chr(39))}`"
