"""ClickHouse's HTTP interface in front of chdb, for tests: ``python clickhouse_gateway.py DIR``.

It answers what ``clickhouse-connect`` asks over HTTP: queries, parameters, Arrow in and
out, errors with their code. It is no ClickHouse server: no users, sessions, replication, progress,
and settings of a request are not applied.
It prints its port once it listens, and ends when its standard input does. One query at a time.
"""

import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import chdb.session

ENGINE = threading.Lock()
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
INSERT = re.compile(rb"\s*INSERT\s+INTO\b[^\n]*?\bFORMAT\s+\w+\s*\n", re.IGNORECASE)


class Gateway(BaseHTTPRequestHandler):
    """One request, one statement."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two wait 40 ms for an acknowledgement in between
    session: chdb.session.Session

    def do_GET(self) -> None:
        """Answer a query in the address, or that the gateway lives."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Answer a query in the body, or insert the body."""
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, body: bytes) -> None:
        given = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query, True).items()}  # noqa: FBT003
        try:
            with ENGINE:
                answer, form = self._run(given, body)
            self._send(200, answer, {"X-ClickHouse-Format": form})
        except RuntimeError as e:
            code = re.search(r"Code: (\d+)", str(e))
            headers = {"X-ClickHouse-Exception-Code": code[1] if code else "0"}
            self._send(500, str(e).encode(), headers)

    def _run(self, given: dict[str, str], body: bytes) -> tuple[bytes, str]:
        query = given.get("query", "")
        found = INSERT.match(query.encode() + b"\n" + body if query else body)
        if found:
            head = found[0].decode()
            data = body if query else body[found.end() :]
            return self._insert(head, data), "TabSeparated"
        query = query or body.decode()
        asked = FORMAT.search(query)
        form = asked[1] if asked else given.get("default_format", "TabSeparated")
        query = FORMAT.sub("", query)
        parameters = {k[6:]: v for k, v in given.items() if k.startswith("param_")}
        if not query.strip():
            return b"Ok.\n", form
        answer = self.session.query(query, form, params=parameters)
        return answer.bytes(), form

    def _insert(self, head: str, data: bytes) -> bytes:
        with tempfile.NamedTemporaryFile(suffix=".block") as file:
            file.write(data)
            file.flush()
            form = FORMAT.search(head.strip())
            sql = FORMAT.sub(f"FROM INFILE '{file.name}' FORMAT {form[1]}", head.strip())
            return self.session.query(sql).bytes()

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve a directory until standard input ends."""
    Gateway.session = chdb.session.Session(str(Path(sys.argv[1]).resolve()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)  # noqa: T201 - this is how the port is told
    sys.stdin.read()
    server.shutdown()
    Gateway.session.close()


if __name__ == "__main__":
    main()
