"""The bookkeeping of an HDF5 file of pictures, written in one go when all pictures are known.

The library makes datasets one at a time, 25 microseconds and more each; here the same structures are laid out as
tables for all of them: a group in the root that is HDF5's oldest and most widely read kind (superblock 0, a tree of
names over symbol tables, a heap of names; what `h5py.File(path, "w")` makes by default), and for each picture the
header that the library would write: one-dimensional, uint8, contiguous. The names of the structures and fields below
are those of the "HDF5 File Format Specification", version 3.0, sections II.A, III.A.1, III.B to III.D and IV.A.

The result depends on nothing but the pictures: no library's release, no time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

SUPERBLOCK_SIZE = 96

_NONE = 2**64 - 1  # "undefined address"
_LEAF_K, _TREE_K = 32, 32  # symbol tables and nodes hold up to twice as many entries
_CHUNK = 4096  # pictures whose headers are made at a time

_HEADER = np.dtype(
    [
        ("prefix", "S16"),  # version 1, five messages, one reference, their size
        ("dataspace", "S16"),
        ("dimension", "<u8"),
        ("limit", "<u8"),
        ("datatype", "S24"),
        ("fill", "S16"),
        ("layout", "S10"),
        ("address", "<u8"),
        ("size", "<u8"),
        ("padding", "S6"),
    ]
)
_ENTRY = np.dtype([("name", "<u8"), ("header", "<u8"), ("cache", "<u4"), ("reserved", "<u4"), ("scratch", "V16")])
_ROOT_HEADER = struct.Struct("<BxHII4xHHB3xQQ")
_TREE_HEAD = struct.Struct("<4sBBHQQ")
_TREE_SIZE = _TREE_HEAD.size + 8 * (4 * _TREE_K + 1)
_TABLE_HEAD = struct.Struct("<4sBxH")
_TABLE_SIZE = _TABLE_HEAD.size + 2 * _LEAF_K * _ENTRY.itemsize
_HEAP_HEAD = struct.Struct("<4sB3xQQQ")
_NO_FREE_BLOCK = 1


def index_pieces(
    start: int, names: Sequence[bytes], offsets: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint64]
) -> Iterator[tuple[int, bytes]]:
    """All that makes the pictures a file, as (offset in the file, bytes); the superblock comes last.

    Args:
        start: where the pictures end, in bytes; a multiple of 8.
        names: of the pictures, each once.
        offsets: where each picture's bytes lie.
        sizes: of the pictures in bytes.
    """
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    headers = start
    for first in range(0, len(order), _CHUNK):
        chunk = order[first : first + _CHUNK]
        yield headers + first * _HEADER.itemsize, _headers(offsets[chunk], sizes[chunk])

    heap = headers + len(order) * _HEADER.itemsize
    position = heap + _HEAP_HEAD.size
    yield position, bytes(8)  # the empty name
    name_starts = np.zeros(len(order), np.int64)
    name_start = 8
    for first in range(0, len(order), _CHUNK):
        padded = [_padded(names[number]) for number in order[first : first + _CHUNK]]
        name_starts[first : first + len(padded)] = list(accumulate(map(len, padded), initial=name_start))[:-1]
        chunk_bytes = b"".join(padded)
        yield position + name_start, chunk_bytes
        name_start += len(chunk_bytes)
    yield heap, _HEAP_HEAD.pack(b"HEAP", 0, name_start, _NO_FREE_BLOCK, position)

    position += name_start
    children, keys = [], [0]  # keys[i] < names in children[i] <= keys[i + 1]; a key is where a name is in the heap
    for first in range(0, len(order), 2 * _LEAF_K):
        count = min(2 * _LEAF_K, len(order) - first)
        entries = np.zeros(2 * _LEAF_K, _ENTRY)
        entries["name"][:count] = name_starts[first : first + count]
        entries["header"][:count] = headers + np.arange(first, first + count) * _HEADER.itemsize
        yield position, _TABLE_HEAD.pack(b"SNOD", 1, count) + entries.tobytes()
        children.append(position)
        keys.append(int(name_starts[first + count - 1]))
        position += _TABLE_SIZE

    level = 0
    while True:
        nodes, node_keys = [], [0]
        for first in range(0, max(1, len(children)), 2 * _TREE_K):
            stop = min(len(children), first + 2 * _TREE_K)
            left = position - _TREE_SIZE if first else _NONE
            right = position + _TREE_SIZE if stop < len(children) else _NONE
            yield position, _tree_node(level, left, right, children[first:stop], keys[first : stop + 1])
            nodes.append(position)
            node_keys.append(keys[stop])
            position += _TREE_SIZE
        children, keys = nodes, node_keys
        level += 1
        if len(children) == 1:
            break

    tree = children[0]
    yield position, _ROOT_HEADER.pack(1, 1, 1, 24, 0x11, 16, 0, tree, heap)
    yield 0, _superblock(root=position, tree=tree, heap=heap, end=position + _ROOT_HEADER.size)


def _headers(offsets: npt.NDArray[np.uint64], sizes: npt.NDArray[np.uint64]) -> bytes:
    """The object headers of datasets. Each message is: type, size, flags (1: constant), its fields."""
    table = np.zeros(len(offsets), _HEADER)
    table["prefix"] = struct.pack("<BxHII4x", 1, 5, 1, _HEADER.itemsize - 16)
    table["dataspace"] = struct.pack("<HHB3x", 1, 24, 0) + struct.pack("<BBB5x", 1, 1, 1)  # one dimension, limited
    table["dimension"] = table["limit"] = table["size"] = sizes
    table["datatype"] = struct.pack("<HHB3x", 3, 16, 1) + struct.pack("<B3sIHH4x", 0x10, bytes(3), 1, 0, 8)  # uint8
    table["fill"] = struct.pack("<HHB3x", 5, 8, 1) + struct.pack("<BBBB4x", 2, 1, 1, 1)  # allocated early, never filled
    table["layout"] = struct.pack("<HHB3x", 8, 24, 1) + struct.pack("<BB", 3, 1)  # contiguous
    table["address"] = offsets
    return table.tobytes()


def _tree_node(level: int, left: int, right: int, children: Sequence[int], keys: Sequence[int]) -> bytes:
    fields = np.zeros(4 * _TREE_K + 1, "<u8")
    fields[1 : 2 * len(children) : 2] = children
    fields[: 2 * len(children) + 1 : 2] = keys
    return _TREE_HEAD.pack(b"TREE", 0, level, len(children), left, right) + fields.tobytes()


def _superblock(*, root: int, tree: int, heap: int, end: int) -> bytes:
    head = struct.pack("<8s5B3BHHI", b"\x89HDF\r\n\x1a\n", 0, 0, 0, 0, 0, 8, 8, 0, _LEAF_K, _TREE_K, 0)
    # base address, free space, end of file, driver; then the root's entry, with where its tree and heap are
    return head + struct.pack("<4Q", 0, _NONE, end, _NONE) + struct.pack("<QQI4xQQ", 0, root, 1, tree, heap)


def _padded(name: bytes) -> bytes:
    return name + bytes(8 - len(name) % 8)  # at least one zero ends a name
