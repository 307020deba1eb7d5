"""A node that loses an event: a proxy before a real one that swallows the third event of each stream.

Arguments: the real server, and its own.
"""

import os
import signal
import socket
import subprocess
import sys
import threading

# The real one gets a port of its own.
arguments = sys.argv[1:]
port = arguments.index("--port") + 1
own, arguments[port] = int(arguments[port]), "0"
server = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
real = int(server.stdout.readline().strip().rsplit(":", 1)[1])


def stop(*_):
    server.terminate()
    server.wait()
    os._exit(0)


signal.signal(signal.SIGTERM, stop)


def pass_on(source, to):
    try:
        while data := source.recv(65536):
            to.sendall(data)
    except OSError:
        pass
    for it in (source, to):
        try:
            it.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def swallow(source, to):
    """Passes on an answer, event by event if it is a stream."""
    waiting, seen, is_stream = b"", 0, False
    try:
        while data := source.recv(65536):
            waiting += data
            if not is_stream:
                is_stream = b"text/event-stream" in waiting
                if not is_stream:
                    to.sendall(waiting)
                    waiting = b""
                    continue
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                to.sendall(head + b"\r\n\r\n")
            while b"\r\n" in waiting:
                size, _, rest = waiting.partition(b"\r\n")
                end = int(size, 16) + 2
                if len(rest) < end:
                    break
                chunk, waiting = rest[: end - 2], rest[end:]
                kept = b""
                for event in chunk.split(b"\n\n")[:-1]:
                    seen += b"data:" in event
                    if seen != 3 or b"data:" not in event:
                        kept += event + b"\n\n"
                if kept:
                    to.sendall(b"%x\r\n%s\r\n" % (len(kept), kept))
    except OSError:
        pass
    for it in (source, to):
        try:
            it.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


listener = socket.create_server(("127.0.0.1", own), backlog=128)
print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
while True:
    client = listener.accept()[0]
    node = socket.create_connection(("127.0.0.1", real))
    threading.Thread(target=pass_on, args=(client, node), daemon=True).start()
    threading.Thread(target=swallow, args=(node, client), daemon=True).start()
