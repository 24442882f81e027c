"""WebDataset: tar files of some samples each, one sample per video.

    <run>-000000.tar with
        <video>.frame0000.jpg, <video>.frame0001.jpg, ...
        <video>.json: {"video", "images", "annotations"} as they stand in the pairs JSON
    categories.json

What a sample's files have in common ends at the first dot of their names, so dots of a video's name become dashes.
Equal pairs give equal bytes.
"""

from __future__ import annotations

import io
import tarfile
from itertools import chain, islice
from typing import Any

import msgspec

from ovforge.exports.run import ExportRun, image_suffix
from ovforge.exports.videos import Video


def write(run: ExportRun) -> dict[str, int]:
    """Write the shards and the list of classes."""
    (run.folder / "categories.json").write_bytes(msgspec.json.encode(run.categories))
    images = shards = 0
    keys: set[str] = set()
    videos = run.videos()
    while some := list(islice(videos, 1)):
        path = run.folder / f"{run.name}-{shards:06d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as shard:
            for video in chain(some, islice(videos, run.options.shard_size - 1)):
                _add_sample(run, shard, video, keys)
                images += len(video.frames)
        shards += 1
    return {"images": images, "shards": shards}


def _add_sample(run: ExportRun, shard: tarfile.TarFile, video: Video, keys: set[str]) -> None:
    key = video.name.replace(".", "-")
    if key in keys:
        key = f"{key}-{video.id}"
    keys.add(key)
    for frame in video.frames:
        if run.store is not None:
            _add(shard, f"{key}.frame{frame.index:04d}{image_suffix(frame)}", run.store.read(frame.file_name))
    content: dict[str, Any] = {
        "video": {
            "id": video.id,
            "name": video.name,
            "width": video.width,
            "height": video.height,
            "neg_category_ids": video.neg_category_ids,
            "not_exhaustive_category_ids": video.not_exhaustive_category_ids,
        },
        "images": [frame.record for frame in video.frames],
        "annotations": [record for frame in video.frames for record in frame.object_records],
    }
    _add(shard, f"{key}.json", msgspec.json.encode(content))


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner and no time: the same files give the same bytes
    member.size = len(data)
    shard.addfile(member, io.BytesIO(data))
