"""A server that leaks: a proxy before a real one that keeps a descriptor and 100 KiB of each connection.

Arguments: the real server, and its own.
"""

import os
import signal
import socket
import subprocess
import sys
import threading

server = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
port = int(server.stdout.readline().strip().rsplit(":", 1)[1])


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


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
kept = []
while True:
    client = listener.accept()[0]
    node = socket.create_connection(("127.0.0.1", port))
    kept.append((os.open("/dev/null", os.O_RDONLY), b"x" * (100 * 1024 + len(kept))))
    for pair in ((client, node), (node, client)):
        threading.Thread(target=pass_on, args=pair, daemon=True).start()
    del client, node
