"""The partition of a key as Java clients choose it: murmur2 of its bytes, sign dropped, modulo the partition count.

Written from the definition of MurmurHash2 (Austin Appleby, public domain) with Kafka's seed, apart from the programs.
"""

import functools

_SEED, _M, _MASK = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


def murmur2(data):
    hashed = (_SEED ^ len(data)) & _MASK
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        hashed = (hashed * _M & _MASK) ^ word
    if len(data) > whole:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    hashed = (hashed ^ hashed >> 13) * _M & _MASK
    return hashed ^ hashed >> 15


@functools.lru_cache(maxsize=None)
def partition_of(key, partitions):
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
