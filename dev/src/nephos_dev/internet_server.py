"""The http server of the cloud's outside: it tells each client as whom it came, so that SNAT can be seen."""

import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 80


def greeting(client: str) -> str:
    """Return what a client at that address is told; IPv4 as IPv4, though the socket is IPv6's."""
    return f"hello from the internet, {client.removeprefix('::ffff:')}\n"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # why: http.server finds it by this name
        """Answer whatever is asked for with the greeting."""
        body = greeting(self.client_address[0]).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def main() -> None:
    """Serve until killed."""
    _Server(("::", PORT), _Handler).serve_forever()


if __name__ == "__main__":
    main()
