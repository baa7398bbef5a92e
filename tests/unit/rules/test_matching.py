import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.rules.matching import like, text_test


def as_regular_expression(pattern):
    parts, at = [], 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
            parts.append(re.escape(pattern[at : at + 1] or "\\"))
        else:
            parts.append({"%": ".*", "_": "."}.get(pattern[at], re.escape(pattern[at])))
        at += 1
    return re.compile("".join(parts), re.DOTALL)


@given(st.text("ab%_\\\n", max_size=8), st.text("ab%_\\\n", max_size=12))
def test_like_agrees_with_the_same_regular_expression(pattern, text):
    assert like(pattern)(text) is (as_regular_expression(pattern).fullmatch(text) is not None)


def test_like_takes_an_escaped_sign_as_it_is():
    assert like(r"100\%")("100%")
    assert not like(r"100\%")("1000")


def test_no_pattern_blows_up():
    pattern, text = "%a" * 100 + "b", "a" * 1000
    begin = time.process_time()

    assert not like(pattern)(text)

    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize(("op", "found"), [("startswith", False), ("endswith", True), ("contains", True)])
def test_the_other_tests_are_what_they_are_called(op, found):
    assert text_test(op, "bc")("abc") is found


def test_an_unknown_test_is_refused():
    with pytest.raises(ValueError, match="matches"):
        text_test("matches", "a")
