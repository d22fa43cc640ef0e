"""A hub of a few lines, at the HTTP edge: what huggingface_hub asks of the real one to make a repository and commit to it.

It keeps every byte that arrives. Files come base64 in the commit, or, as the hub decides by their names, by Git LFS before it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_of_the_fake_hub"
_LARGE = (".safetensors", "tokenizer.json")
"""Endings of what goes by LFS."""


@dataclass
class Repository:
    """A repository: whether it is private, and its commits, each the bytes by path."""

    private: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=list)


class FakeHub:
    """Serves on this machine at `url`. `refuse` holds the status of requests that are to fail, by what they ask for: create,
    info, yaml, preupload, batch, store or commit; `asked` is what was asked for, in order."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.refuse: dict[str, int] = {}
        self.asked: list[str] = []
        self._stored: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, name: str) -> dict[str, bytes]:
        """The files of a repository's one commit."""
        (commit,) = self.repositories[name].commits
        return commit

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, said = hub.answer(f"{self.command} {self.path}", body, self.headers.get("Authorization", ""))
                text = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = answer  # noqa: N815

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler

    def answer(self, request: str, body: bytes, authorization: str) -> tuple[int, Any]:
        """Status and json of one request."""
        routes = {
            "create": r"POST /api/repos/create",
            "yaml": r"POST /api/validate-yaml",
            "preupload": r"POST /api/models/(.+/.+)/preupload/main",
            "commit": r"POST /api/models/(.+/.+)/commit/main",
            "batch": r"POST /(.+/.+)\.git/info/lfs/objects/batch",
            "store": r"PUT /store/(\w{64})",
            "info": r"GET /api/models/([^/]+/[^/]+)",
        }
        found = ((kind, match) for kind, route in routes.items() if (match := re.fullmatch(route, request)))
        kind, match = next(found, ("unknown", None))
        self.asked.append(kind)
        if match is None:
            return 404, {"error": f"the fake hub knows no {request}"}
        if kind in self.refuse:
            return self.refuse[kind], {"error": "refused by the test"}
        if kind not in ("store", "yaml") and authorization != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials in Authorization header"}
        return getattr(self, f"_{kind}")(body, *match.groups())

    def _create(self, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
        self.repositories[name] = Repository(private=asked.get("visibility") == "private")
        return 200, {"url": f"{self.url}/{name}"}

    def _info(self, body: bytes, name: str) -> tuple[int, Any]:
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        return 200, {"id": name, "private": self.repositories[name].private, "siblings": [], "tags": []}

    def _yaml(self, body: bytes) -> tuple[int, Any]:
        header = json.loads(body)["content"].split("---\n")[1]
        try:
            values = yaml.safe_load(header)
            known = all(set(entry) == {"name", "results"} for entry in values.get("model-index", []))
        except (yaml.YAMLError, AttributeError, TypeError) as error:
            return 400, {"errors": [{"message": str(error)}], "warnings": []}
        errors = [] if known else [{"message": "model-index"}]
        return 400 if errors else 200, {"errors": errors, "warnings": []}

    def _preupload(self, body: bytes, name: str) -> tuple[int, Any]:
        names = [file["path"] for file in json.loads(body)["files"]]
        modes = ["lfs" if name.endswith(_LARGE) else "regular" for name in names]
        return 200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in zip(names, modes, strict=True)]}

    def _batch(self, body: bytes, name: str) -> tuple[int, Any]:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/store/{one['oid']}"}}} for one in json.loads(body)["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}

    def _store(self, body: bytes, oid: str) -> tuple[int, Any]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "the bytes are not those that were announced"}
        self._stored[oid] = body
        return 200, {}

    def _commit(self, body: bytes, name: str) -> tuple[int, Any]:
        files: dict[str, bytes] = {}
        for entry in map(json.loads, body.splitlines()):
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self._stored[value["oid"]]
        self.repositories[name].commits.append(files)
        number = len(self.repositories[name].commits)
        return 200, {"commitUrl": f"{self.url}/{name}/commit/{number}", "commitOid": f"{number:040d}"}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that listens for as long as the block runs."""
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.close()
        thread.join()
