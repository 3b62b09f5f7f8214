"""Names of files that clients save, whatever people call their recordings."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.file_names import clean, content_disposition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Weekly sync", "Weekly sync"),
        ("rec_1", "rec_1"),
        ("", ""),
        ("\u200b", ""),
        ("../../etc/passwd", "_.._etc_passwd"),
        ('a"b\\c/d;e%00', "a_b_c_d_e_00"),
        ("\r\nX-Injected: 1", "_X-Injected_ 1"),
        ("con", "_con"),
        ("con .txt", "_con .txt"),
        ("con." + "x" * 96, "_con." + "x" * 95),
        ("e\u200d\u0301", "é"),
        ("COM1.backup", "_COM1.backup"),
        ("-rf", "rf"),
        ("=cmd", "cmd"),
        ("  .hidden  ", "hidden"),
        ("exe\u202esupo", "exesupo"),
        ("＂quoted＂", "_quoted_"),
        ("Q3: plan & budget (v2)", "Q3_ plan & budget (v2)"),
        ("会議", "会議"),
        ("x" * 255, "x" * 100),
        ("会" * 200, "会" * 80),
        ("😀" * 200, "😀" * 60),
        ("\ud800x", "x"),
    ],
)
def test_names_are_safe(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text(st.characters(), max_size=300), st.sampled_from(["opus", "docx"]))
def test_any_text_gives_a_header_that_browsers_understand(text: str, suffix: str) -> None:
    stem = clean(text)
    assert not re.search(r'[\x00-\x1f\x7f"*/:<>?\\|%;]', stem)
    assert clean(stem) == stem
    name = f"{stem or 'rec_1'}.{suffix}"
    assert len(name.encode()) <= 255
    header = content_disposition("attachment", name, "rec_1")
    assert re.fullmatch(
        rf"attachment; filename=\"[ -~]+\.{suffix}\"(; filename\*=UTF-8''[!-~]+\.{suffix})?", header
    )
    given_name = unquote(header.rpartition("''")[2]) if "''" in header else header[22:-1]
    assert given_name == name


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Café.opus", "Cafe.opus"),
        ("会議.opus", "rec_1.opus"),
        ("≮b≯ é.opus", "_b_ e.opus"),
        ("会-rf.srt", "rf.srt"),
        ("会con.srt", "_con.srt"),
        ("会.bashrc.srt", "bashrc.srt"),
    ],
)
def test_names_beyond_ascii_come_in_both_forms(name: str, plain: str) -> None:
    header = content_disposition("inline", name, "rec_1")
    start = f"inline; filename=\"{plain}\"; filename*=UTF-8''"
    assert header.startswith(start)
    assert header.isascii()
    assert unquote(header.removeprefix(start)) == name
