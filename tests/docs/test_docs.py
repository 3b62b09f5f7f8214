"""The documentation hangs together: every page is in the index, every link leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
PLACE = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)")
CODE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


def places_in(page: Path) -> set[str]:
    """The names by which links reach the headings of a page, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_place_finds_its_heading(page: Path) -> None:
    targets = [
        (page.parent / target if target else page, place) for target, place in PLACE.findall(page.read_text())
    ]
    missing = [f"{target.name}#{place}" for target, place in targets if place not in places_in(target)]
    assert missing == []


@pytest.mark.parametrize("folder", ["docs", "docs/decisions"])
def test_every_page_is_in_its_index(folder: str) -> None:
    index = (ROOT / folder / "README.md").read_text()
    pages = {page.name for page in (ROOT / folder).glob("*.md")} - {"README.md"}
    listed = set(LINK.findall(index))
    assert pages
    assert pages <= listed


def test_the_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    first = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert first
    commands = [line.split("#")[0].strip() for line in first[1].strip().splitlines()]
    assert commands == ["make demo", "make test"]


def test_the_readme_deletes_every_file_that_its_examples_write() -> None:
    text = (ROOT / "README.md").read_text()
    written = set(re.findall(r"(?: > | -o )([\w.-]+)", text))
    deleted = re.search(r"^rm -f ([\w. -]+?) *#", text, re.MULTILINE)
    assert len(written) == 4
    assert deleted
    assert set(deleted[1].split()) == written
