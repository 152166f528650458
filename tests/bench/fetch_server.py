"""A server of large files that costs little itself: each is its number, then bytes that all share, by sendfile."""

from __future__ import annotations

import os
import socket
import sys
import threading

MARK = 16


def main(size: int) -> None:
    """Serve `/<number>` with files of `size` bytes until killed."""
    shared = os.memfd_create("body")
    block = os.urandom(1 << 20)
    for _ in range(0, min(size, 64 << 20), 1 << 20):
        os.write(shared, block)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(connection, shared, size), daemon=True).start()


def _serve(connection: socket.socket, shared: int, size: int) -> None:
    held, buffer = os.fstat(shared).st_size, b""
    try:
        while True:
            while b"\r\n\r\n" not in buffer:
                more = connection.recv(65_536)
                if not more:
                    return
                buffer += more
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            name = head.split(b" ", 2)[1].strip(b"/")[:MARK].rjust(MARK, b"0")
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s"
                % (size, name)
            )
            left = size - MARK
            while left:
                left -= os.sendfile(connection.fileno(), shared, (size - MARK - left) % held, min(left, 1 << 20))
    except OSError:
        return
    finally:
        connection.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
