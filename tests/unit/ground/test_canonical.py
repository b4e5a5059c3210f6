"""The digest of a table: of what it says, however it was written."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from retread.canonical import digest

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TABLES = st.dictionaries(st.text(), VALUES, max_size=4)


def test_it_is_the_sha256_of_sorted_keys_without_spaces_and_without_the_digest_itself() -> None:
    written = b'{"a":[1,2.5,null],"b":{"c":"\\u00e9","d":true}}'
    table = {"b": {"d": True, "c": "é"}, "digest": "anything", "a": [1, 2.5, None]}
    assert digest(table) == hashlib.sha256(written).hexdigest()


def test_only_the_table_s_own_digest_is_left_out() -> None:
    assert digest({"a": {"digest": "1"}}) != digest({"a": {"digest": "2"}})


@given(TABLES)
def test_neither_order_nor_indent_nor_a_way_through_a_file_changes_it(table: dict[str, object]) -> None:
    turned = json.loads(json.dumps(dict(reversed(table.items())), indent=2, ensure_ascii=False))
    assert digest(turned) == digest({**table, "digest": "x"}) == digest(table)


@given(TABLES, st.text().filter(lambda key: key != "digest"), VALUES)
def test_whatever_is_changed_changes_it(table: dict[str, object], key: str, value: object) -> None:
    changed = {**table, key: value}
    same = json.dumps(changed, sort_keys=True) == json.dumps(table, sort_keys=True)
    assert (digest(changed) == digest(table)) == same
