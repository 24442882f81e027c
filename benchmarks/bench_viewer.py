"""How fast the viewer answers at 100,000 pairs, and what it takes: the real server, asked over HTTP."""

from __future__ import annotations

import argparse
import http.client
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from many_pairs import make_pairs

ASK = {
    "first page": "/",
    "grid, 60 tiles anywhere": "/api/pairs?limit=60&offset={place}",
    "filter by class": "/api/pairs?limit=60&class={class_id}",
    "filter by size and fidelity": "/api/pairs?limit=60&size_from={size}&fidelity_to=0.6",
    "filter by file name": "/api/pairs?limit=60&name={place}_v",
    "sort by fidelity, filtered": "/api/pairs?limit=60&sort=fidelity&objects_from=6&size_to={size}",
    "one pair": "/api/pair?pair={place:012d}_v0.jpg",
    "small image": "/thumb/{place}",
    "image": "/image/{place}",
    "statistics": "/statistics",
}


def memory(process: subprocess.Popen[str]) -> float:
    """MiB that only the server has; the mapped index is shared with the page cache and not counted."""
    return float(psutil.Process(process.pid).memory_full_info().uss / (1 << 20))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the generated run; used again if it is there")
    parser.add_argument("--pairs", type=int, default=100_000)
    options = parser.parse_args()
    if not (options.folder / "annotations/many.json").exists():
        make_pairs(options.folder, options.pairs)
    code = "import typer; from ovforge.cli import pairs_view; app = typer.Typer(); pairs_view.register(app); app()"
    command = [sys.executable, "-c", code, "many", "--folder", str(options.folder), "--port", "0"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    place = urlsplit(process.stdout.readline().split()[1]).netloc
    print(f"ready after {time.perf_counter() - started:.2f} s (of which the index, if it was not there)")
    rng = random.Random(0)
    try:
        connection = http.client.HTTPConnection(place)
        print(f"memory at the start: {memory(process):.0f} MiB")
        for name, path in ASK.items():
            times, first = [], 0.0
            for turn in range(12):
                asked = path.format(
                    place=rng.randrange(options.pairs), class_id=rng.randrange(1, 800), size=rng.uniform(80, 200)
                )
                before = time.perf_counter()
                connection.request("GET", asked)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, (asked, answer.status)
                if turn:
                    times.append(time.perf_counter() - before)
                else:
                    first = time.perf_counter() - before
            print(f"{name:<30} first {first * 1e3:7.1f} ms   median {statistics.median(times) * 1e3:7.1f} ms")
        print(f"memory after: {memory(process):.0f} MiB")
        for _ in range(500):
            connection.request("GET", f"/thumb/{rng.randrange(2 * options.pairs)}")
            connection.getresponse().read()
            connection.request(
                "GET", f"/api/pairs?limit=60&offset={rng.randrange(options.pairs)}&class={rng.randrange(1, 800)}"
            )
            connection.getresponse().read()
        print(f"memory after 500 more small images and filters: {memory(process):.0f} MiB")
    finally:
        process.terminate()
        process.wait()
