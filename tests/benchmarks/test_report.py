"""The page of figures says what was measured, and nothing else."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.report import PAGE, TABLES, main, render, results


def test_the_page_is_what_the_results_say() -> None:
    main(["--check"])


def test_a_new_result_makes_the_page_out_of_date() -> None:
    found = results()
    found["regression"] = json.loads(json.dumps(found["regression"]))
    found["regression"]["ratios"]["decode_to_fastavro"] *= 2
    assert render(PAGE.read_text(), found) != PAGE.read_text()


def test_a_result_that_is_missing_is_told() -> None:
    assert "Not measured yet: million." in render(PAGE.read_text(), {})


def test_every_table_stands_on_the_page() -> None:
    asked = re.findall(r"<!-- figures: (\w+) -->", PAGE.read_text())
    assert sorted(asked) == sorted(TABLES)


def test_a_table_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError):
        render("<!-- figures: nonsense -->\n<!-- end of figures -->", {})
