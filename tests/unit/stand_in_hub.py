"""A stand-in for the hub on this machine, which can be slow, break off, lie, lack things, or be gone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXT = (".json", ".md", ".py", ".txt")
"""What a repository holds as it is; all other files stand in large-file storage."""


class Hub:
    """What the stand-in serves, how it misbehaves, and what was asked of it."""

    def __init__(self, kind: Literal["datasets", "models"], name: str) -> None:
        self.kind, self.name = kind, name
        self.commit = COMMIT
        self.files: dict[str, bytes] = {}
        self.lies: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.breaks_left = 10**9
        self.dies = False
        self.delay_s = 0.0
        self.methods: Counter[str] = Counter()
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.url = ""

    def facts(self) -> bytes:
        entries = []
        for name, content in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git}
            if not name.endswith(TEXT):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            entries.append(entry)
        facts = {
            "id": self.name,
            "modelId": self.name,
            "sha": self.commit,
            "siblings": entries,
            "cardData": {"license": "cc0-1.0"},
        }
        return json.dumps({**facts, "private": False, "downloads": 0, "likes": 0, "tags": []}).encode()


class Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, with_body: bool) -> None:
        hub, path = self.hub, unquote(self.path).partition("?")[0]
        hub.methods[self.command] += 1
        hub.asked.append(path)
        threading.Event().wait(hub.delay_s)  # time.sleep is taken away from the library, and so from us
        if path.startswith(f"/api/{hub.kind}/{hub.name}"):
            if "/revision/" in path and path.rpartition("/revision/")[2] not in ("main", "v1", hub.commit):
                self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            self.send(200, hub.facts(), {"Content-Type": "application/json"})
            return
        head = f"{'/datasets' if hub.kind == 'datasets' else ''}/{hub.name}/resolve/{hub.commit}/"
        name = path.removeprefix(head)
        if not path.startswith(head) or name not in hub.files:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        etag = hashlib.sha256(hub.files[name]).hexdigest()
        facts = {"ETag": f'"{etag}"', "X-Repo-Commit": hub.commit}
        content = hub.lies.get(name, hub.files[name])
        wanted = self.headers.get("Range")
        if not with_body:
            self.send(200, content, facts, with_body=False)
        elif wanted:
            hub.ranges.append(wanted)
            begin = int(wanted.removeprefix("bytes=").partition("-")[0])
            facts["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self.send(206, content[begin:], facts)
        else:
            self.send(200, content, facts)

    def send(self, code: int, content: bytes, headers: dict[str, str], with_body: bool = True) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not with_body:
            return
        cut = self.hub.break_after
        if code in (200, 206) and cut is not None and len(content) > cut and self.hub.breaks_left > 0:
            self.hub.breaks_left -= 1
            if self.hub.dies:
                self.hub.break_after = 0
            self.wfile.write(content[:cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            with contextlib.suppress(BrokenPipeError):  # the other side has given up
                self.wfile.write(content)


@contextlib.contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answers,), {"hub": hub}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that give up are meant to
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
