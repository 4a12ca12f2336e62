"""The page's lists in a real browser: filters, order, search, what Back brings back, and what is taken away."""
# The fixtures that this file shares with test_page.py are parameters of its tests too.
# ruff: noqa: F811

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.simulate import SimulatedAlert
from service.store import Store
from tests.api.examples import KEYS, WRITE
from tests.api.test_page import axe, base, browser, open_page, serve, store, sync_api  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

Open = Callable[..., Any]

# A pulse, after which the stream of events ends.
EVENT = "event: pulse\ndata: " + json.dumps(
    {
        "time": 1784550896.0, "ready": True, "reasons": [], "streaming": False, "alerts_per_s": 3.0, "rates": [1, 2],
        "model": {"name": "m", "version": "1", "provider": "cpu"}, "lag_s": None, "lag_messages": None, "newest": [],
        "latency_ms": None, "consumed": 1, "published": 1, "filtered": {}, "dead_lettered": {}, "in_flight": 0,
        "objects": 5, "class_mix": {},
    }
) + "\n\n"  # fmt: skip


def column(page: Any, number: int) -> list[str]:
    texts: list[str] = page.locator(f"tbody tr td:nth-child({number})").all_inner_texts()
    return texts


def shown(page: Any) -> None:
    page.wait_for_function(
        """() => {
            const table = document.querySelector("table[data-shows]");
            const done = table && table.dataset.shows === location.hash && !table.matches("[aria-busy]");
            return done && table.tBodies[0].rows.length;
        }"""
    )


def test_objects_are_filtered_and_the_address_says_how(open_page: Open, base: str) -> None:
    page = open_page()
    page.goto(f"{base}#/objects")
    shown(page)
    page.select_option("select[name=superclass]", "Periodic")
    page.fill("input[name=min_detections]", "3")
    page.click("summary:has-text('More filters')")
    page.select_option("select[name=without_flag]", "low_quality")
    page.click("button:has-text('Find')")
    page.wait_for_function("() => location.hash.includes('superclass=Periodic')")
    shown(page)
    asked = "() => fetch(`/v1/objects?limit=50&${location.hash.split('?')[1]}`).then(answer => answer.json())"
    answer = page.evaluate(asked)
    assert column(page, 1) == [each["object_id"] for each in answer["objects"]]
    assert all(int(text) >= 3 for text in column(page, 4))
    assert not any("low quality" in text for text in column(page, 6))
    assert page.input_value("input[name=min_detections]") == "3", "the form shows what is asked"
    assert page.locator("select[name=without_flag]").is_visible(), "what is asked stands open"


def test_columns_sort_and_say_so(open_page: Open, base: str) -> None:
    page = open_page()
    page.goto(f"{base}#/objects")
    shown(page)
    page.click("th button:has-text('Probability')")
    page.wait_for_selector("th[aria-sort=descending]:has-text('Probability')")
    shown(page)
    percents = [float(text.split()[0]) for text in column(page, 3)]
    assert percents == sorted(percents, reverse=True)
    page.click("th button:has-text('Detections')")
    counts = [int(text) for text in column(page, 4)]
    assert counts == sorted(counts, reverse=True)
    page.click("th button:has-text('Detections')")
    assert page.locator("th[aria-sort=ascending]").inner_text() == "Detections"
    assert [int(text) for text in column(page, 4)] == counts[::-1]
    assert "Sorted among those shown" in page.inner_text("main")
    page.click("th button:has-text('Object')")
    page.wait_for_selector("th[aria-sort=ascending]:has-text('Object')")
    shown(page)
    names = column(page, 1)
    assert names == sorted(names)


def test_back_brings_the_rows_back(open_page: Open, base: str) -> None:
    page = open_page()
    page.goto(f"{base}#/objects")
    shown(page)
    page.click("button:has-text('More')")
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length > 50")
    page.wait_for_selector("table:not([aria-busy])")
    names = column(page, 1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    last = page.locator("tbody tr a").last
    last.scroll_into_view_if_needed()
    height = page.evaluate("scrollY")
    assert height > 0
    last.click()
    page.wait_for_selector(f"h1:has-text('{names[-1]}')")
    page.go_back()
    page.wait_for_selector("h1:has-text('Objects')")
    assert column(page, 1) == names
    assert abs(page.evaluate("scrollY") - height) < 5
    assert not [url for url in asked if "/v1/objects?" in url]
    page.click("nav a:has-text('Night')")
    page.wait_for_selector(".tiles")
    page.click("nav a:has-text('Objects')")
    shown(page)
    assert len(column(page, 1)) == 50, "gone to anew, the list begins anew"


def test_a_beginning_of_a_name_finds_those_that_begin_so(
    open_page: Open,
    base: str,
    night: list[SimulatedAlert],
) -> None:
    page = open_page()
    page.goto(base)
    known = sorted({alert.object_id for alert in night})
    page.fill("#search-id", known[0][:5].lower())
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Objects')")
    shown(page)
    assert column(page, 1) == [name for name in known if name.startswith(known[0][:5])][:50]
    page.fill("#search-id", known[-1][:-1].upper())
    page.keyboard.press("Enter")
    page.wait_for_selector(f"h1:has-text('{known[-1]}')")
    page.fill("#search-id", "nothing-like-that")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]:has-text('nothing-like-that is not in the store')")


def test_while_the_service_looks_there_is_a_sign(open_page: Open, base: str) -> None:
    page = open_page()
    page.goto(base)
    page.wait_for_selector("#status[data-state=good]")
    page.route("**/v1/objects?*", lambda route: (page.wait_for_timeout(600), route.continue_()))
    page.click("nav a:has-text('Objects')")
    page.wait_for_selector("table[aria-busy]")
    assert "Looking" in page.inner_text("main")
    shown(page)


def test_figures_look_old_when_the_connection_is_lost(open_page: Open, serve: Callable[..., str]) -> None:
    page = open_page()
    page.route("**/v1/events", lambda route: route.fulfill(body=EVENT, content_type="text/event-stream"))
    page.goto(serve())
    page.wait_for_selector("body.stale")
    assert page.inner_text("#old") == "The connection is lost: what is shown is of 12:34:56 UTC."
    assert page.inner_text("#status") == "connection lost"
    page.unroute("**/v1/events")
    page.wait_for_selector("#status[data-state=good]")
    assert not page.locator("#old").is_visible()
    assert page.locator("body.stale").count() == 0


def test_the_candidates_are_taken_away_as_they_are_filtered(
    open_page: Open,
    base: str,
    tmp_path: Path,
) -> None:
    page = open_page()
    page.goto(f"{base}#/objects?superclass=Periodic&sort=most_probable")
    shown(page)
    with page.expect_download() as taken:
        page.click("main button:has-text('CSV')")
    taken.value.save_as(tmp_path / "table.csv")
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [row["object_id"] for row in rows][: len(column(page, 1))] == column(page, 1)
    page.goto(base)
    page.wait_for_selector("h2:has-text('Best transients of the last day')")
    with page.expect_download() as taken:
        page.click("section:has-text('Best transients') button:has-text('JSON')")
    assert taken.value.suggested_filename.startswith("candidates-")


@pytest.mark.parametrize(("scheme", "size"), [("light", (1280, 900)), ("dark", (1280, 900)), ("light", (360, 740))])
def test_lists_are_whole_and_accessible(
    open_page: Open,
    base: str,
    scheme: str,
    size: tuple[int, int],
    tmp_path: Path,
) -> None:
    page = open_page(scheme, size)
    for number, view in enumerate(("", "#/objects", "#/objects?flag=low_quality&min_probability=0.2")):
        page.goto(base + view)
        page.wait_for_selector("main table tbody tr")
        page.wait_for_timeout(300)
        folder = os.environ.get("PAGE_SCREENSHOTS", str(tmp_path))
        page.screenshot(path=f"{folder}/lists-{number}-{scheme}-{size[0]}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for region in page.locator(".scroll").all():
            assert region.evaluate("each => each.scrollWidth - each.clientWidth") <= 1, "a column is cut"
        results = axe.Axe().run(page)
        serious = [
            (each["id"], [node["html"][:120] for node in each["nodes"][:3]])
            for each in results.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_a_filter_is_watched_and_its_feed_and_webhook_are_shown(
    open_page: Open, serve: Callable[..., str], store: Store, tmp_path: Path
) -> None:
    """Given a key that may write, when a list's filter is saved, then it stands among the watches, and is removed there
    at the second press.
    """
    hooks = {"webhook_origins": ["https://hooks.example.org"]}
    page = open_page("dark", (360, 740))
    page.goto(serve(api={"api_keys": KEYS}, watch=hooks) + "#/objects?superclass=Transient&without_flag=low_quality")
    page.wait_for_selector("dialog[open]")
    page.fill("#key-value", WRITE)
    page.keyboard.press("Enter")
    shown(page)
    page.click("summary:has-text('Watch this filter')")
    page.fill("input[name=name]", "young")
    page.fill("input[name=url]", "https://elsewhere.example.org/hook")
    page.click("button:has-text('Watch')")
    page.wait_for_selector(".watch [role=status]:has-text('watch.webhook_origins')")
    page.fill("input[name=url]", "https://hooks.example.org/hook")
    page.click("button:has-text('Watch')")
    page.wait_for_selector(".watch [role=status]:has-text('whsec_')")
    page.click("a:has-text('It is watched.')")
    page.wait_for_selector("h2:has-text('young')")
    assert page.locator(".tag").all_inner_texts() == ["superclass Transient", "without flag low_quality"]
    assert "Webhook at https://hooks.example.org: never told yet, 0 objects wait" in page.inner_text("main")
    assert page.locator("a:has-text('Atom')").get_attribute("href") == "/v1/watches/young/feed.atom"
    folder = os.environ.get("PAGE_SCREENSHOTS", str(tmp_path))
    page.screenshot(path=f"{folder}/watches-dark-360.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    serious = [
        each["id"] for each in axe.Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    page.click("button:has-text('Remove')")
    assert len(store.watches()) == 1
    page.click("button:has-text('Really remove')")
    page.wait_for_selector("p:has-text('None yet.')")
    assert store.watches() == []
