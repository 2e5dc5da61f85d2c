"""The blocks of code in README and docs: where each is, and how a test runs one as it stands there."""

import re
import shlex
from typing import NamedTuple

from tests.bundle import ROOT

# What a block without a language shows that is no command.
PRINTED = {
    ("README", 2): "what `make run` prints, with the ids and seconds of one machine",
    ("try", 2): "likewise",
}

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """What stands between two lines of ```; `number` counts those of one language on a page, from 1."""

    page: str
    language: str
    number: int
    line: int
    source: str

    def run(self, names, replaced=()):
        """Execute it in a namespace; `replaced` are the blanks that a reader fills in, and with what."""
        source = self.source
        for blank, value in dict(replaced).items():
            assert blank in source, f"{self.page}:{self.line} has no {blank}"
            source = source.replace(blank, value)
        # Line numbers of a traceback are those of the page.
        exec(compile("\n" * self.line + source, f"{self.page}.md", "exec"), names)


def blocks():
    """Each block of README and docs."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fenced in re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S):
            number = 1 + sum((one.page, one.language) == (page.stem, fenced[1]) for one in found)
            line = text.count("\n", 0, fenced.start()) + 1
            found.append(Block(page.stem, fenced[1], number, line, fenced[2]))
    return found


def python(page):
    """The blocks of Python on a page."""
    return [block for block in blocks() if (block.page, block.language) == (page, "python")]


def shell():
    """Each command of a block without a language, as its words; what such a block holds else is in `PRINTED`."""
    for block in blocks():
        if block.language == "" and (block.page, block.number) not in PRINTED:
            for command in re.split(r"\n(?=\S)", block.source.strip()):
                words = shlex.split(re.sub(r"<[^>]*>", "1", command))
                # Variables before it, and `ID=$(az …)`.
                yield from ([word.removeprefix("ID=$(") for word in words if not re.match(r"[A-Z_]+=\w", word)],)
