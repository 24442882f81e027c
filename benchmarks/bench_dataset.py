"""How fast `PairDataset` is, and what a worker of it takes: pairs per second and memory with 0, 2 and 4 workers.

The run is made by `many_pairs.py`: a JSON of real size, images of 640x480 that share a few megabytes of bytes, so
that decoding is measured and the disk is not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import psutil
import torch
from many_pairs import make_pairs

from ovforge.data import PairDataset, collate_pairs

MIB = 1 << 20


def own_memory(pid: int) -> float:
    """MiB that only this process has: pages shared with others are not counted."""
    return float(psutil.Process(pid).memory_full_info().uss) / MIB


def measure(dataset: PairDataset, workers: int, start: str, count: int) -> dict[str, float]:
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:count].tolist()
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=8,
        sampler=order,
        num_workers=workers,
        collate_fn=collate_pairs,
        multiprocessing_context=start if workers else None,
    )
    batches = iter(loader)
    next(batches)  # workers are up
    started, pairs, memory = time.perf_counter(), 8, 0.0
    for number, (first, _, _) in enumerate(batches):
        pairs += len(first)
        if number == count // 16:
            children = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
            memory = max((own_memory(pid) for pid in children), default=own_memory(os.getpid()))
    seconds = time.perf_counter() - started
    return {"pairs/s": (pairs - 8) / seconds, "MiB a worker": memory}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the generated run; used again if it is there")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--count", type=int, default=800, help="pairs to read in each measurement")
    options = parser.parse_args()
    h5, pairs_json = options.folder / "many.h5", options.folder / "annotations/many.json"
    if not pairs_json.exists():
        make_pairs(options.folder, options.pairs)
    torch.set_num_threads(1)
    started = time.perf_counter()
    dataset = PairDataset(h5, pairs_json)
    print(f"{len(dataset):,} pairs; opened in {time.perf_counter() - started:.2f} s; {os.cpu_count()} cores")
    print(f"before reading: {own_memory(os.getpid()):.0f} MiB")
    for start, counts in (("fork", (0, 2, 4)), ("spawn", (2, 4))):
        for workers in counts:
            found = measure(dataset, workers, start, options.count)
            print(
                f"{workers} workers ({start if workers else 'none'}): "
                + ", ".join(f"{v:.0f} {k}" for k, v in found.items())
            )
