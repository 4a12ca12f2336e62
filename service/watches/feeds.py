"""What a watch noticed as a feed: Atom (RFC 4287) and JSON Feed 1.1 (https://www.jsonfeed.org/version/1.1/)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree as Xml

from service.store.filters import Notice, Watch

ATOM: Final = "http://www.w3.org/2005/Atom"


def json_feed(watch: Watch, notices: Sequence[Notice], base: str, here: str) -> dict[str, Any]:
    """`base` is the page's address, `here` the feed's own."""
    return {
        "version": "https://jsonfeed.org/version/1.1",
        "title": _title(watch),
        "home_page_url": base,
        "feed_url": here,
        "items": [
            {
                "id": _id(watch, each),
                "url": _page(base, each),
                "title": _said(each),
                "content_text": _text(each),
                "date_published": _utc(each.noticed_at),
                "tags": [each.document.get("top_class") or "unnamed", *each.document.get("flags", [])],
                "_classification": each.document,
            }
            for each in notices
        ],
    }


def atom_feed(watch: Watch, notices: Sequence[Notice], base: str, here: str) -> bytes:
    """As `json_feed`."""
    Xml.register_namespace("", ATOM)
    feed = Xml.Element(f"{{{ATOM}}}feed")

    def add(parent: Xml.Element, name: str, text: str | None = None, **attributes: str) -> Xml.Element:
        child = Xml.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
        child.text = None if text is None else _printable(text)
        return child

    add(feed, "id", f"urn:alert-classifier:watch:{quote(watch.name)}")
    add(feed, "title", _title(watch))
    add(feed, "updated", _utc(notices[0].noticed_at if notices else watch.created))
    add(add(feed, "author"), "name", "alert-classifier")
    add(feed, "link", rel="self", href=here)
    add(feed, "link", rel="alternate", href=base)
    for each in notices:
        entry = add(feed, "entry")
        add(entry, "id", _id(watch, each))
        add(entry, "title", _said(each))
        add(entry, "updated", _utc(each.noticed_at))
        add(entry, "link", rel="alternate", href=_page(base, each))
        add(entry, "category", term=_printable(each.document.get("top_class") or "unnamed"))
        add(entry, "content", _text(each), type="text")
    found: bytes = Xml.tostring(feed, encoding="utf-8", xml_declaration=True)
    return found


def _title(watch: Watch) -> str:
    return f"Objects noticed by {watch.name}"


def _id(watch: Watch, notice: Notice) -> str:
    return f"urn:alert-classifier:watch:{quote(watch.name)}:{notice.number}"


def _page(base: str, notice: Notice) -> str:
    return f"{base}#/object/{quote(notice.object_id, safe='')}"


def _said(notice: Notice) -> str:
    document = notice.document
    if document.get("top_class") is None:
        return f"{notice.object_id}: no class"
    return f"{notice.object_id}: {document['top_class']} {100 * document.get('top_probability', 0):.0f} %"


def _text(notice: Notice) -> str:
    document = notice.document
    detections = sum((document.get("n_detections") or {}).values())
    place = ""
    if document.get("ra") is not None and document.get("dec") is not None:
        place = f" at RA {document['ra']:.6f}, Dec {document['dec']:+.6f} deg"
    flags = ", ".join(document.get("flags") or ()) or "none"
    return f"{_said(notice)}{place}, {detections} detections, last at MJD {document.get('mjd')}; flags: {flags}"


def _printable(text: str) -> str:
    """XML has no control characters; names of objects come from whoever sent the alert."""
    return "".join(c if c >= " " and c not in "\ufffe\uffff" else "\ufffd" for c in text)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
