"""The report in a browser, with a page for any pair of the run and its galleries: a small server for one reader here.

It listens on 127.0.0.1 only, and refuses requests that were not addressed to this machine by name, so that no web site can
read a run through the reader's browser. No address becomes a path: a page is looked up among the run's ids, or is not there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from spr.errors import SprError
from spr.records import PreferencePair
from spr.report.case import Cases, page_name
from spr.report.data import Run, read_run
from spr.report.gallery import galleries
from spr.report.gallery_page import render_gallery
from spr.report.page import render
from spr.report.pair_page import neighbours, render_case
from spr.report.templating import render_page

HOST = "127.0.0.1"
PER_PAGE = 50
SORTS = {
    "margin": "margin",
    "chosen": "chosen_score",
    "refined": "refined_score",
    "rejected": "rejected_score",
    "localization": "chosen_localization",
    "id": "pair_id",
}
"""What the list of pairs can be sorted by: the name in the address, and the pair's field."""
_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Answer:
    """A page, or the news that there is none."""

    status: HTTPStatus
    html: str


class Site:
    """The pages of one run by address. Pages are made when they are asked for; the run is read once, when this is made.

    Raises what `read_run` raises.
    """

    def __init__(self, path: Path) -> None:
        self._run: Run = read_run(path)
        self._cases = Cases(self._run)
        self._pairs = sorted(self._cases.pairs, key=lambda pair: (-pair.margin, pair.pair_id))
        self._files = [f"{page_name(pair.pair_id)}.html" for pair in self._pairs]
        by_id = {f"{pair.pair_id}.html": i for i, pair in enumerate(self._pairs)}
        self._galleries = galleries(self._run)
        self._places = by_id | {file: i for i, file in enumerate(self._files)}

    def answer(self, target: str) -> Answer:
        """The page at a request's target (path and query, percent-encoded)."""
        given, _, query = target.partition("?")
        path = unquote(given)
        if path in ("/", "/index.html"):
            return Answer(HTTPStatus.OK, render(self._run, self._galleries, listing="pairs/"))
        if path == "/pairs/":
            return self._list(dict(parse_qsl(query)))
        gallery = next((one for one in self._galleries.values() if path == f"/gallery/{one.page}"), None)
        if gallery is not None:
            return Answer(HTTPStatus.OK, render_gallery(self._run, gallery))
        place = self._places.get(path.removeprefix("/pairs/")) if path.startswith("/pairs/") else None
        if place is None:
            return self._missing()
        links = neighbours(self._files, place, index="../index.html", listing="./")
        return Answer(HTTPStatus.OK, render_case(self._cases.of(self._pairs[place]), self._run.name, links))

    def _list(self, query: dict[str, str]) -> Answer:
        """One page of all pairs; what is no order, no direction or no page is not there."""
        sort, order, page = query.get("sort", "margin"), query.get("order", "down"), query.get("page", "1")
        pages = max(1, -(-len(self._pairs) // PER_PAGE))
        if sort not in SORTS or order not in ("up", "down") or not (page.isascii() and page.isdigit() and len(page) < 9):
            return self._missing()
        number = int(page)
        if not 1 <= number <= pages:
            return self._missing()
        ordered = sorted(self._pairs, key=partial(_sort_key, SORTS[sort]), reverse=order == "down")
        shown = ordered[(number - 1) * PER_PAGE : number * PER_PAGE]
        rows = [(pair, f"{page_name(pair.pair_id)}.html") for pair in shown]
        values: dict[str, Any] = {"sort": sort, "order": order, "page": number, "pages": pages, "rows": rows}
        return Answer(HTTPStatus.OK, render_page("list.html.j2", run_name=self._run.name, total=len(self._pairs), **values))

    def _missing(self) -> Answer:
        return Answer(HTTPStatus.NOT_FOUND, render_page("missing.html.j2", run_name=self._run.name))


def open_server(path: Path, port: int) -> ThreadingHTTPServer:
    """A server of the run at `path`, bound to 127.0.0.1 and `port` (0: any free one); `serve_forever` runs it.

    Raises SprError when the port cannot be had, and what `read_run` raises.
    """
    site = Site(path)
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, site))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SprError(f"port {port} of {HOST} cannot be had: {reason}; name another with --port, or 0 for any") from None


def _sort_key(field: str, pair: PreferencePair) -> tuple[float | str, str]:
    return getattr(pair, field), pair.pair_id


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of a `Site`; silent. `timeout` ends connections on which nothing comes."""

    timeout = 30

    def __init__(self, site: Site, *connection: object) -> None:
        self._site = site
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with a page."""
        # A reader who turns to another page before this one is whole is no fault.
        with contextlib.suppress(ConnectionError):
            self._send(body=True)

    def do_HEAD(self) -> None:
        """Answer with a page's headers."""
        with contextlib.suppress(ConnectionError):
            self._send(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is the reader's."""

    def _send(self, body: bool) -> None:
        answer = self._site.answer(self.path) if self._is_for_us() else _REFUSED
        data = answer.html.encode("utf-8", "replace")
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _is_for_us(self) -> bool:
        """Whether the request names this machine: another name that leads here is a web site's trick (DNS rebinding)."""
        hosts = self.headers.get_all("Host") or []
        return len(hosts) == 1 and _name_of(hosts[0]) in _NAMES


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = host.strip().lower().rpartition(":")
    return name if colon and port.isdigit() else host.strip().lower()


_REFUSED = Answer(HTTPStatus.FORBIDDEN, "<!doctype html><title>Refused</title><p>This server answers its own machine only.</p>")
