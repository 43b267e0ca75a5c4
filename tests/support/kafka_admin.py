"""Creating Kafka topics without a JVM: the CreateTopics request, version 4, over a plain socket.

kcat cannot create a topic with settings, and Kafka's own command takes two seconds a call.
"""

import socket
import struct

CREATE_TOPICS = 19


class KafkaError(Exception):
    pass


def _string(text):
    if text is None:
        return struct.pack(">h", -1)
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def _receive(connection, size):
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise KafkaError("the broker closed the connection")
        data += chunk
    return data


def _read_string(data, at):
    (size,) = struct.unpack_from(">h", data, at)
    at += 2
    return (None, at) if size < 0 else (data[at : at + size].decode(), at + size)


def create_topic(broker, topic, partitions=1, config=None, validate_only=False, exist_ok=False, timeout=10):
    """Creates `topic` at `broker` (HOST:PORT, the controller of a one-broker cluster). KafkaError says why not."""
    settings = _array([_string(name) + _string(str(value)) for name, value in (config or {}).items()])
    body = _array([_string(topic) + struct.pack(">ih", partitions, 1) + _array([]) + settings])
    body += struct.pack(">ib", int(timeout * 1000), validate_only)
    request = struct.pack(">hhi", CREATE_TOPICS, 4, 1) + _string("lockstep-tests") + body
    host, port = broker.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        answer = _receive(connection, size)
    # correlation id, throttle time, number of topics; then name, error code, message
    _, at = _read_string(answer, 12)
    (code,) = struct.unpack_from(">h", answer, at)
    message, _ = _read_string(answer, at + 2)
    if code != 0 and not (exist_ok and code == 36):
        raise KafkaError(f"create topic {topic} at {broker}: error {code}: {message}")


def ready(broker):
    """True when the broker would place a new topic, i.e. is registered and unfenced."""
    try:
        create_topic(broker, "is-it-ready", validate_only=True, timeout=2)
        return True
    except (OSError, KafkaError):
        return False
