"""The server of a run's report: what it answers, to whom, and what it refuses."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from synthetic_run import write_run

from spr.errors import SprError
from spr.report.case import page_name
from spr.report.data import Run, read_run
from spr.report.server import PER_PAGE, open_server

Answer = tuple[int, str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("served"), photos=70, query_id="img/{:03d} <b>")


@pytest.fixture(scope="module")
def port(run: Path) -> Iterator[int]:
    with open_server(run, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def rows(run: Path) -> Run:
    return read_run(run)


def ask(port: int, path: str, method: str = "GET", host: str | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize("path", ["/", "/index.html"])
def test_the_index_is_served_with_a_way_to_all_pairs(port: int, path: str) -> None:
    status, text = ask(port, path)
    assert status == 200
    assert "From images to pairs" in text
    assert 'href="pairs/"' in text


def test_every_pair_has_its_page_by_name_and_by_id(port: int, rows: Run) -> None:
    pair = sorted(rows.pairs or [], key=lambda pair: pair.margin)[0]
    for name in (page_name(pair.pair_id), quote(pair.pair_id, safe="")):
        status, text = ask(port, f"/pairs/{name}.html")
        assert status == 200
        assert "<h1>img/" in text
        assert 'href="./"' in text


def test_the_links_of_a_page_lead_through_all_pairs(port: int, rows: Run) -> None:
    pairs = rows.pairs or []
    page, seen = f"{page_name(max(pairs, key=lambda pair: pair.margin).pair_id)}.html", 1
    while found := re.search(r'href="([^"]+)" rel="next"', ask(port, f"/pairs/{page}")[1]):
        page, seen = found[1], seen + 1
    assert seen == len(pairs) > 12


def test_the_list_is_sorted_by_margin_and_paged(port: int, rows: Run) -> None:
    margins = sorted((pair.margin for pair in rows.pairs or []), reverse=True)
    assert len(margins) > PER_PAGE
    shown: list[float] = []
    for page in (1, 2):
        text = ask(port, f"/pairs/?sort=margin&order=down&page={page}")[1]
        shown += [float(value) for value in re.findall(r"</th><td>([\d.]+)</td>", text)]
    assert shown == [pytest.approx(margin, abs=6e-4) for margin in margins]
    assert 'rel="next"' in ask(port, "/pairs/")[1]


@pytest.mark.parametrize("sort", ["margin", "chosen", "refined", "rejected", "localization", "id"])
def test_up_is_down_turned_round(port: int, sort: str) -> None:
    def listed(order: str) -> list[str]:
        texts = [ask(port, f"/pairs/?sort={sort}&order={order}&page={page}")[1] for page in (1, 2)]
        return [name for text in texts for name in re.findall(r'<th scope="row"><a href="([^"]+)"', text)]

    assert len(set(listed("up"))) > PER_PAGE
    assert listed("up") == listed("down")[::-1]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/pairs",
        "/pairs/none.html",
        "/pairs/?page=0",
        "/pairs/?page=99",
        "/pairs/?page=x",
        "/pairs/?page=" + "9" * 5000,
        "/pairs/?sort=prompt",
        "/pairs/?order=sideways",
        "/../recipe.json",
        "/pairs/../../recipe.json",
        "/pairs/%2e%2e/%2e%2e/recipe.json",
        "/pairs/..%2f..%2frecipe.json",
        "/recipe.json",
        "//etc/passwd",
        "/pairs/%00.html",
        "/pairs/%ff.html",
        "//[",
    ],
)
def test_what_is_not_there_is_404_and_no_path_leads_to_files(port: int, path: str) -> None:
    status, text = ask(port, path)
    assert status == 404
    assert "There is no such page" in text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{}", "127.0.0.1", "[::1]:{}"])
def test_this_machine_is_answered_by_its_names(port: int, host: str) -> None:
    assert ask(port, "/pairs/", host=host.format(port))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:{}", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0:{}", "localhost:80:evil"],
)
def test_another_name_is_refused(port: int, host: str) -> None:
    status, text = ask(port, "/", host=host.format(port))
    assert status == 403
    assert "shapes-demo" not in text


def test_head_has_no_body_and_nothing_can_be_posted(port: int) -> None:
    assert ask(port, "/", "HEAD") == (200, "")
    assert ask(port, "/", "POST")[0] == 501


def test_it_listens_on_this_machine_alone(run: Path) -> None:
    with open_server(run, 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_is_one_sentence(run: Path, port: int) -> None:
    with pytest.raises(SprError, match=rf"port {port} of 127.0.0.1 cannot be had: address already in use; name another"):
        open_server(run, port)


def test_a_run_without_pairs_has_an_empty_list(tmp_path: Path) -> None:
    with open_server(write_run(tmp_path, photos=2, parts=("queries",)), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert "The run holds no pair" in ask(server.server_port, "/pairs/")[1]
        assert ask(server.server_port, "/")[0] == 200
        server.shutdown()
