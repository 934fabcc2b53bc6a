"""YAML that is written for machines which read it by the rules of 1.1 or of 1.2."""

from __future__ import annotations

import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from jobs.units.yamltext import yaml_text

TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("a #:-\n\t'\"|>%@`{}[]&*!?,y0é\x85", max_size=12)


@given(TEXT)
@example("yes")
@example("on")
@example("1:30")
@example("0123")
@example("a\n b \nc\n\n")
@example("  a\nb")
@example("\n\na\n")
@example("---\na\n...\n")
def test_every_text_reads_the_same_by_either_rules(text: str) -> None:
    """As a value, in a list, and as a multi-line one."""
    value = {"a": {"text": text, "list": [text, text + "\nx", f"x\n{text}"]}}
    written = yaml_text([value, value], ["comment"])
    assert list(yaml.safe_load_all(written)) == [value, value]
    assert list(YAML(typ="safe", pure=True).load_all(written)) == [value, value]
