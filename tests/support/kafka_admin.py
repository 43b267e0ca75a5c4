"""Kafka topics made, widened, cut and removed without a JVM: the plain requests over a plain socket.

kcat can do none of these, and Kafka's own command takes two seconds a call.
"""

import socket
import struct

CREATE_TOPICS, DELETE_TOPICS, DELETE_RECORDS, CREATE_PARTITIONS = 19, 20, 21, 37


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


def _call(broker, api, version, body, timeout):
    """One request over a connection of its own; returns the answer's body."""
    request = struct.pack(">hhi", api, version, 1) + _string("lockstep-tests") + body
    host, port = broker.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        return _receive(connection, size)[4:]  # without the correlation id


def _first_error(answer):
    """The error code and what follows it, of an answer that is a throttle time and an array of names with codes."""
    _, at = _read_string(answer, 8)
    (code,) = struct.unpack_from(">h", answer, at)
    return code, at + 2


def create_topic(broker, topic, partitions=1, config=None, validate_only=False, exist_ok=False, timeout=10):
    """Creates `topic` at `broker` (HOST:PORT, the controller of a one-broker cluster). KafkaError says why not."""
    settings = _array([_string(name) + _string(str(value)) for name, value in (config or {}).items()])
    body = _array([_string(topic) + struct.pack(">ih", partitions, 1) + _array([]) + settings])
    answer = _call(broker, CREATE_TOPICS, 4, body + struct.pack(">ib", int(timeout * 1000), validate_only), timeout)
    code, at = _first_error(answer)
    if code != 0 and not (exist_ok and code == 36):
        raise KafkaError(f"create topic {topic} at {broker}: error {code}: {_read_string(answer, at)[0]}")


def delete_topic(broker, topic, timeout=10):
    code, _ = _first_error(_call(broker, DELETE_TOPICS, 1, _array([_string(topic)]) + struct.pack(">i", int(timeout * 1000)), timeout))
    if code != 0:
        raise KafkaError(f"delete topic {topic} at {broker}: error {code}")


def create_partitions(broker, topic, count, timeout=10):
    """Gives the topic `count` partitions in all."""
    body = _array([_string(topic) + struct.pack(">ii", count, -1)]) + struct.pack(">ib", int(timeout * 1000), False)
    code, _ = _first_error(_call(broker, CREATE_PARTITIONS, 0, body, timeout))
    if code != 0:
        raise KafkaError(f"{count} partitions for {topic} at {broker}: error {code}")


def delete_records(broker, topic, before, partition=0, timeout=10):
    """Removes the records below the offset `before`, as retention does."""
    body = _array([_string(topic) + _array([struct.pack(">iq", partition, before)])]) + struct.pack(">i", int(timeout * 1000))
    answer = _call(broker, DELETE_RECORDS, 0, body, timeout)
    _, at = _read_string(answer, 8)
    _, low, code = struct.unpack_from(">iqh", answer, at + 4)
    if code != 0 or low != before:
        raise KafkaError(f"delete records of {topic} at {broker}: error {code}, the log begins at {low}")


def ready(broker):
    """True when the broker would place a new topic, i.e. is registered and unfenced."""
    try:
        create_topic(broker, "is-it-ready", validate_only=True, timeout=2)
        return True
    except (OSError, KafkaError):
        return False
