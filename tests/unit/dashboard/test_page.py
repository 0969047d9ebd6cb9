"""The page's files: small, whole, and with nothing inline or from elsewhere."""

from __future__ import annotations

import re

from deal_sdk.dashboard.page import INDEX, LIBRARY, read_files

FILES = read_files()
FIRST_PAGE_BYTES = 60_000


def test_the_first_page_is_small_without_the_chart_library() -> None:
    assert set(FILES) >= LIBRARY
    own = {name: len(one.compressed) for name, one in FILES.items() if name not in LIBRARY}
    assert sum(own.values()) < FIRST_PAGE_BYTES, own


def test_every_file_that_is_named_is_there() -> None:
    text = "\n".join(one.body.decode() for name, one in FILES.items() if name not in LIBRARY)
    named = set(re.findall(r"/static/([\w.]+)", text)) | set(re.findall(r'from "\./([\w.]+)"', text))
    assert named == set(FILES) - {INDEX}


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = FILES[INDEX].body.decode()
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script>", page) == []
    for name, one in FILES.items():
        if name in LIBRARY:
            continue
        text = one.body.decode()
        assert re.findall(r"\binnerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text) == []
        outside = {url for url in re.findall(r"https?://[\w./-]+", text) if "www.w3.org" not in url}
        assert outside == set(), name
