import queue
import time
from collections import defaultdict

from flask import Flask, Response, request

app = Flask(__name__)
rooms = defaultdict(set)


@app.get("/ticks")
def ticks():
    def events():
        n = 0
        while True:
            n += 1
            yield f"data: tick {n}\n\n"
            time.sleep(0.5)

    return Response(events(), mimetype="text/event-stream")


@app.get("/rooms/<name>")
def join(name):
    messages = queue.Queue()
    rooms[name].add(messages)

    def events():
        try:
            while True:
                try:
                    yield f"data: {messages.get(timeout=5)}\n\n"
                except queue.Empty:  # A write is the only way to notice a reader that has gone.
                    yield ": still here\n\n"
        finally:
            rooms[name].remove(messages)

    return Response(events(), mimetype="text/event-stream")


@app.post("/rooms/<name>")
def say(name):
    for messages in list(rooms[name]):
        messages.put(request.get_data(as_text=True))
    return "", 204
