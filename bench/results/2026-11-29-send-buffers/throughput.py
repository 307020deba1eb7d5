#!/usr/bin/env python3
"""How fast do messages of 64 KiB go over one connection, by the option of the listener?

usage: throughput.py [SECONDS]   as root: it joins two network namespaces by a slow path, and removes them
"""

import collections
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

MESSAGE = b"x" * 65_600
DELAY_S = 0.025  # in each direction
WARM_UP_S = 1.5  # many round trips: the window of TCP has grown
ROUNDS = 3
NOTSENT_LOWAT = (socket.IPPROTO_TCP, 25)
SNDBUF = (socket.SOL_SOCKET, socket.SO_SNDBUF)
OPTIONS = {
    "none": [],
    "TCP_NOTSENT_LOWAT 128 KiB": [(*NOTSENT_LOWAT, 128 << 10)],
    "SO_SNDBUF 64 KiB": [(*SNDBUF, 64 << 10)],
    "SO_SNDBUF 128 KiB": [(*SNDBUF, 128 << 10)],
    "SO_SNDBUF 1 MiB": [(*SNDBUF, 1 << 20)],
}


def serve(address, option):
    """Sends messages to one client until it leaves."""
    listener = socket.socket()
    for one in OPTIONS[option]:
        listener.setsockopt(*one)
    listener.bind((address, 0))
    listener.listen(1)
    print(listener.getsockname()[1], flush=True)
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            client.sendall(MESSAGE)
    except OSError:
        pass


def read(address, port, seconds):
    """Prints the bytes of a second."""
    server = socket.create_connection((address, int(port)))
    buffer = bytearray(1 << 20)
    warm = time.monotonic() + WARM_UP_S
    while time.monotonic() < warm:
        server.recv_into(buffer)
    total, begin = 0, time.monotonic()
    while time.monotonic() < begin + float(seconds):
        total += server.recv_into(buffer)
    print(total / (time.monotonic() - begin))


def rate(server_in, client_in, address, option, seconds):
    """Bytes a second of one connection; each side runs behind its prefix of a command."""
    me = [sys.executable, __file__]
    server = subprocess.Popen([*server_in, *me, "serve", address, option], stdout=subprocess.PIPE)
    port = server.stdout.readline().decode().strip()
    client = [*client_in, *me, "read", address, port, seconds]
    output = subprocess.run(client, check=True, capture_output=True).stdout
    server.kill()
    server.wait()
    return float(output)


def column(title, server_in, client_in, address, seconds):
    """Prints the best rates of all options, as multiples of the first: a busy host only makes them lower."""
    rates = collections.defaultdict(list)
    for _ in range(ROUNDS):
        for option in OPTIONS:
            rates[option].append(rate(server_in, client_in, address, option, seconds))
    unbounded = max(rates["none"])
    for option, seen in rates.items():
        ratios = ", ".join(f"{one / unbounded:.2f}" for one in sorted(seen, reverse=True))
        print(f"| {title} | {option} | {ratios} |", flush=True)


def tunnel(name):
    """A network device whose packets are read from a file, and written to it."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    # TUNSETIFF, IFF_TUN | IFF_NO_PI
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH", name.encode(), 0x1001))
    return device


def relay(one, other):
    """Hands each packet of a device to the other one, later."""
    late = collections.deque()
    while True:
        wait = max(0, late[0][0] - time.monotonic()) if late else 1
        try:
            for device in select.select([one, other], [], [], wait)[0]:
                packet = os.read(device, 65_536)
                late.append((time.monotonic() + DELAY_S, other if device == one else one, packet))
            while late and late[0][0] <= time.monotonic():
                _, device, packet = late.popleft()
                os.write(device, packet)
        except BlockingIOError:
            pass
        except OSError:
            return  # The namespaces are gone.


def main(seconds="3"):
    print("| path | option | best, others |\n| --- | --- | --- |")
    column("loopback", [], [], "127.0.0.1", seconds)
    spaces, addresses = ("sse-near", "sse-far"), ("10.99.0.1", "10.99.0.2")
    try:
        devices = []
        for space, own, peer in zip(spaces, addresses, reversed(addresses)):
            devices.append(tunnel(space))
            subprocess.run(["ip", "netns", "add", space], check=True)
            subprocess.run(["ip", "link", "set", space, "netns", space], check=True)
            address = f"addr add {own} peer {peer} dev {space}"
            for words in (address, f"link set {space} mtu 9000 up", "link set lo up"):
                subprocess.run(["ip", "-n", space, *words.split()], check=True)
        threading.Thread(target=relay, args=devices, daemon=True).start()
        near, far = (["ip", "netns", "exec", space] for space in spaces)
        column("50 ms", near, far, addresses[0], seconds)
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)


if __name__ == "__main__":
    command, *words = sys.argv[1:] or ["main"]
    {"serve": serve, "read": read, "main": main}.get(command, lambda: main(command))(*words)
