"""One copy for a batch: what arrives is what was sent."""

from __future__ import annotations

import numpy as np
import torch

from ovforge.synthesis.diffusion.transfer import OnTheWay, sent, to_device

CPU = torch.device("cpu")


def test_arrays_of_all_kinds_arrive_in_one_copy() -> None:
    rng = np.random.default_rng(0)
    rows = {
        "odd": [rng.integers(0, 256, (3, 5, 3), dtype=np.uint8) for _ in range(3)],
        "noise": [rng.standard_normal((4, 2, 3), dtype=np.float32) for _ in range(3)],
        "keep": [rng.random((7, 1)) > 0.5 for _ in range(3)],
        "steps": [np.array(741), np.array(1)],
    }
    there = to_device(rows, CPU)
    for name, arrays in rows.items():
        np.testing.assert_array_equal(there[name].numpy(), np.stack(arrays))
        assert there[name].numpy().dtype == arrays[0].dtype
        assert there[name].data_ptr() % 64 == there["odd"].data_ptr() % 64
    assert len({tensor.untyped_storage().data_ptr() for tensor in there.values()}) == 1


def test_what_is_sent_and_what_comes_back() -> None:
    steps = torch.tensor([741, 721])
    assert torch.equal(sent(steps, CPU), steps)
    images, finite = torch.arange(24, dtype=torch.uint8).reshape(2, 2, 2, 3), torch.tensor([True, False])
    way = OnTheWay(images, finite)
    for _ in range(2):  # each image of a batch asks
        rgb, whole = way.arrived()
        np.testing.assert_array_equal(rgb, images.numpy())
        np.testing.assert_array_equal(whole, [True, False])
