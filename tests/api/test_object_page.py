"""The object page in a real browser: its addresses, how it grows, what it explains."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.alerts.cutouts import CutoutReader
from service.api import create_app
from service.api.server import Server
from service.config import Settings
from service.inference.registry import ModelRegistry
from service.simulate import SimulatedAlert
from service.store import Store, open_store
from service.store.interface import StoredCutouts
from tests.api.examples import KEYS, stream_through
from tests.api.test_page import base, browser, drawn, object_id, open_page, serve, store

__all__ = ["base", "browser", "object_id", "open_page", "serve", "store"]

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

ASK_NOW = "dispatchEvent(new Event('online'))"  # the page asks every few seconds, and at once when it is online again


class Growing:
    """A server over a store of its own, which holds the first alert of an object; `grow` adds the others."""

    def __init__(self, models: ModelRegistry, alerts: list[SimulatedAlert]) -> None:
        self.object_id, self._models, self._alerts = alerts[0].object_id, models, alerts
        self._store = open_store("sqlite://")
        stream_through(alerts[:1], self._store, models)
        listening = socket.create_server(("127.0.0.1", 0))
        settings = Settings()
        self._server = Server(create_app(settings, models, self._store), settings.api, drain_s=1)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[listening])), daemon=True
        )
        self._thread.start()
        self.base = f"http://127.0.0.1:{listening.getsockname()[1]}/"

    def grow(self) -> None:
        stream_through(self._alerts[1:], self._store, self._models)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture
def growing(models: ModelRegistry, night: list[SimulatedAlert], object_id: str) -> Iterator[Growing]:
    served = Growing(models, [alert for alert in night if alert.object_id == object_id])
    yield served
    served.stop()


def test_every_natural_address_leads_to_the_object(
    open_page: Callable[..., Any], base: str, object_id: str, serve: Callable[..., str]
) -> None:
    page = open_page()
    for address in ("#/objects/{}", "#/object/{}", "objects/{}", "object/{}"):
        page.goto(base + address.format(object_id))
        page.wait_for_selector(f"h1:has-text('{object_id}')")
    page.goto(f"{base}#/objects/")
    page.wait_for_selector("h1:has-text('Objects')")
    page.goto(serve(api={"api_keys": KEYS}) + f"objects/{object_id}")
    page.wait_for_selector("dialog[open]")


def test_the_page_grows_with_the_object_and_keeps_what_was_chosen(
    open_page: Callable[..., Any], growing: Growing
) -> None:
    """Given an open page with upper limits hidden, when alerts arrive, then their points and answers are drawn, and
    the choice stays; while nothing changes, the service answers without a body.
    """
    page = open_page()
    statuses: list[int] = []
    page.on(
        "response",
        lambda response: statuses.append(response.status) if response.url.endswith(growing.object_id) else None,
    )
    page.goto(f"{growing.base}#/object/{growing.object_id}")
    page.wait_for_selector("text=Follows new alerts")
    page.wait_for_selector("text=One alert so far")
    page.click("button:has-text('upper limits')")
    page.locator("button:has-text('upper limits')").focus()
    before = drawn(page)
    page.evaluate(ASK_NOW)
    page.wait_for_timeout(300)
    assert statuses == [200, 304]
    growing.grow()
    page.evaluate(ASK_NOW)
    page.wait_for_selector("text=this page changed at")
    assert drawn(page) > before
    assert page.get_attribute("button:has-text('upper limits')", "aria-pressed") == "false"
    assert "upper limits" in page.evaluate("document.activeElement.textContent")
    assert page.locator("text=One alert so far").count() == 0
    page.goto(f"{growing.base}#/")
    page.wait_for_selector(".tiles")
    asked = len(statuses)
    page.evaluate(ASK_NOW)
    page.wait_for_timeout(200)
    assert len(statuses) == asked, "a page that was left asks no more"


def test_a_lost_connection_makes_what_is_shown_look_old(open_page: Callable[..., Any], growing: Growing) -> None:
    page = open_page()
    page.goto(f"{growing.base}#/object/{growing.object_id}")
    page.wait_for_selector("#status[data-state=good]")
    growing.stop()
    page.wait_for_selector("#old:has-text('The connection is lost')")
    page.evaluate(ASK_NOW)
    page.wait_for_selector("text=Not up to date: the connection is lost")


def test_all_classes_every_model_and_the_reasons_are_shown(
    open_page: Callable[..., Any], base: str, object_id: str, store: Store
) -> None:
    """Given an object that a shadow has judged too, its page shows the history of all classes when asked, both models'
    answers, and leads from a class and from "conformal set" to what they mean.
    """
    latest = store.latest(object_id)
    assert latest is not None
    names = list(latest.document["probabilities"])
    other = dict.fromkeys(names, 0.0) | {names[-1]: 0.75, names[0]: 0.25}
    document = latest.document | {"probabilities": other}
    shadow = replace(
        latest, version="0.0.1", active=False, top_class=names[-1], top_probability=0.75, document=document
    )
    store.record([shadow])
    page = open_page()
    page.goto(f"{base}#/objects/{object_id}")
    page.wait_for_selector("td strong")
    table = page.locator('section:has(h2:text-is("Every model\'s answer"))')
    assert table.locator("thead th").all_inner_texts()[2] == f"{latest.classifier} 0.0.1 (shadow)"
    assert table.locator(f"tr:has(th:text-is('{names[-1]}')) td").all_inner_texts()[1] == "75 %"

    lines = page.locator(".plot .line")
    few = lines.count()
    page.click(f"button:has-text('all {len(names)} classes')")
    assert lines.count() == len(names) > few
    assert page.get_attribute("button:has-text('classes')", "aria-pressed") == "true"

    [model] = page.evaluate("fetch('/v1/models').then(r => r.json())")["models"]
    known = model["out_of_distribution"]
    detections = sum(latest.document["n_detections"].values())
    threshold = [t for first, t in zip(known["detections"], known["thresholds"], strict=True) if first <= detections][
        -1
    ]
    said = page.inner_text("p:has-text('Distance from the training data')")
    assert f"{latest.document['ood_score']:.2f} (1 is typical; flagged above {threshold:.2f})" in said

    page.click("a:has-text('conformal set')")
    page.wait_for_selector("#about-bold.named:focus")
    page.go_back()
    page.click(f".bars a:text-is('{names[0]}')")
    page.wait_for_selector(f"#about-{names[0]}.named:focus")
    assert [page.locator(f"#about-{name} dd").inner_text()[:7] for name in names].count("A class") == 0


def test_pictures_of_an_object_and_of_a_dropped_packet_are_drawn(
    open_page: Callable[..., Any], base: str, object_id: str, store: Store, night: list[SimulatedAlert], tmp_path: Path
) -> None:
    mine = next(alert for alert in night if alert.object_id == object_id)
    found = CutoutReader().read(mine.packet)
    assert found is not None
    kept = StoredCutouts(object_id, mine.candid, mine.mjd, found.science, found.template, b"")
    store.keep_cutouts([kept], 10**7)
    grey = (
        "c => { const d = c.getContext('2d').getImageData(0, 0, 63, 63).data; return [d[4 * (31 * 63 + 31)], d[0]]; }"
    )
    page = open_page()
    page.goto(f"{base}#/objects/{object_id}")
    page.wait_for_selector("canvas")
    assert page.locator("figcaption").all_inner_texts() == ["Science", "Template"]
    centre, corner = page.locator("canvas").nth(1).evaluate(grey)
    assert centre > corner + 50, "the star in the middle of the template is brighter than the sky"
    page.select_option("#stretch", "linear")
    assert page.locator("canvas").nth(1).evaluate(grey) != [centre, corner]

    packet = tmp_path / "packet.avro"
    packet.write_bytes(mine.packet)
    page.goto(f"{base}#/classify")
    page.set_input_files("#files", [packet])
    page.wait_for_selector("canvas")
    assert page.locator("figcaption").all_inner_texts() == ["Science", "Template", "Difference"]
