"""A chat server of a few lines whose every reply a test writes down: what the real one does only on a bad day."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

Body = dict[str, Any]


@dataclass
class Reply:
    """What is sent back. `status` 0 hangs up without a word; `after` seconds pass first."""

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0


def says(*texts: str, finish_reason: str = "stop", prompt: int = 7, completion: int = 3) -> Reply:
    """A chat completion with these answers."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return Reply(text=json.dumps({"choices": choices, "usage": usage}))


def fails(status: int, message: str, **headers: str) -> Reply:
    """An error as vLLM words it."""
    error = {"error": {"message": message, "type": "BadRequestError", "code": status}}
    return Reply(status, json.dumps(error), {name.replace("_", "-"): value for name, value in headers.items()})


class ChatServer:
    """Replies to a chat request by `reply(body, number)`, `number` counting from 0 in the order of arrival; keeps what came."""

    def __init__(self, reply: Callable[[Body, int], Reply], models: Reply) -> None:
        self.reply, self.models = reply, models
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.listed = 0
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def prompts(self) -> list[str]:
        """The words of every question, in the order of arrival."""
        return [body["messages"][0]["content"][-1]["text"] for body in self.bodies]

    def pictures(self, number: int) -> list[Image.Image]:
        """The pictures of one question."""
        parts = [part for part in self.bodies[number]["messages"][0]["content"] if part["type"] == "image_url"]
        return [Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))) for part in parts]

    def answer(self, body: Body, headers: dict[str, str]) -> Reply:
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(headers)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        reply = self.reply(body, number)
        time.sleep(reply.after)
        with self._lock:
            self._now -= 1
        return reply

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.listed += 1
                self._send(server.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(server.answer(body, {name.lower(): value for name, value in self.headers.items()}))

            def _send(self, reply: Reply) -> None:
                self.close_connection = True
                if reply.status:
                    content = reply.text.encode()
                    self.send_response(reply.status)
                    for name, value in {"Content-Length": str(len(content)), "Connection": "close", **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@contextmanager
def chat_server(reply: Callable[[Body, int], Reply], models: Reply | None = None) -> Iterator[ChatServer]:
    """A server that runs until the end of the block; without `models` it lists none."""
    server = ChatServer(reply, models or Reply(text='{"object": "list", "data": []}'))
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
