"""``websocket-client``: follows a chat, and goes on behind the last event that it has whenever it is cut off."""

import json
from typing import Any

import websocket
from driver import GIVEN, TOKEN, URL, finish

SOCKET_URL = URL.replace("http", "ws") + "/ws"
STREAM = f"chat/{GIVEN['chat_id']}"
events: list[dict[str, Any]] = []
cursor = "start"
connections = 0


def follow() -> None:
    """Returns when the answer has ended. Raises when the connection does."""
    global cursor, connections
    connections += 1
    socket = websocket.create_connection(SOCKET_URL, header=[f"Authorization: Bearer {TOKEN}"], timeout=60)
    try:
        welcome = json.loads(socket.recv())
        socket.send(json.dumps({"op": "subscribe", "id": "1", "stream": STREAM, "after": cursor}))
        while True:
            received = socket.recv()
            if not received:
                raise websocket.WebSocketConnectionClosedException
            frame = json.loads(received)
            if frame["op"] != "events" or frame["stream"] != STREAM:
                continue
            for event in frame["events"]:
                events.append(event)
                cursor = f"{welcome['epoch']}:{event['version']}"
                if event["data"]["type"] == "message_end":
                    return
    finally:
        socket.close()


def refused() -> int:
    """The code that a connection with a wrong key is closed with."""
    socket = websocket.create_connection(SOCKET_URL, header=["Authorization: Bearer sk-wrong"], timeout=60)
    opcode, data = socket.recv_data(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    return int.from_bytes(data[:2], "big")


while True:
    try:
        follow()
        break
    except (websocket.WebSocketException, OSError):
        continue
finish("websocket-client", events=events, connections=connections, refused=refused())
