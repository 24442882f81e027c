"""On paper, what one image costs a GPU: operations, bytes and kernels of Stable Diffusion v1-4's architecture, counted.

    python benchmarks/count_operations.py [--size 768x512] [--rows 16]

Nothing is computed: the networks run on torch's `meta` device, which knows shapes alone. Counted are floating-point
operations of matrix products and convolutions, bytes that operations read and write (in half precision, each by itself:
nothing is fused), and how many kernels are started, one for each operation that is no view.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

PRODUCTS = ("convolution", "mm", "addmm", "bmm", "baddbmm", "scaled_dot_product")


class Traffic(TorchDispatchMode):
    """Counts kernels and the bytes that they read and write, those of products apart."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.product_bytes = self.other_bytes = self.norms = self.norm_bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.is_view or function.name().partition(".")[0] in (
            "aten::empty",
            "aten::detach",
            "aten::_unsafe_view",
        ):
            return result
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.kernels += 1
        if "native_group_norm" in function.name():
            self.norms += 1
            self.norm_bytes += size
        if any(name in function.name() for name in PRODUCTS):
            self.product_bytes += size
        else:
            self.other_bytes += size
        return result


class FusedAttention(TorchFunctionMode):
    """Attention as one kernel, as on a GPU: on `meta` torch would write its matrix out."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not torch.nn.functional.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        query, key, value = args[:3]
        self.traffic.kernels += 1
        self.traffic.product_bytes += 2 * (2 * query.numel() + key.numel() + value.numel())
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


def measure(name: str, work: Callable[[], Any]) -> dict[str, float]:
    """Run it once for its operations, once for its bytes, and print a row."""
    with FlopCounterMode(display=False) as flop:
        work()
    with Traffic() as traffic, FusedAttention(traffic):
        work()
    print(
        f"| {name} | {flop.get_total_flops() / 1e12:.3f} | {traffic.product_bytes / 1e9:.2f} | "
        f"{traffic.other_bytes / 1e9:.2f} | {traffic.kernels:,} | {traffic.norms} ({traffic.norm_bytes / 1e9:.2f} GB) |"
    )
    return {
        "flop": flop.get_total_flops(),
        "bytes": traffic.product_bytes + traffic.other_bytes,
        "kernels": traffic.kernels,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="768x512")
    parser.add_argument("--rows", type=int, default=16, help="of a U-Net call: guidance has two for each image")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    rows, images = arguments.rows, max(1, arguments.rows // 2)
    from gpu_parts import real_networks

    with torch.device("meta"), torch.no_grad():
        unet, vae, text = (network.half().eval() for network in real_networks())
        latents = torch.empty(rows, 4, height // 8, width // 8, dtype=torch.float16)
        pixels = torch.empty(images, 3, height, width, dtype=torch.float16)
        states = torch.empty(rows, 77, 768, dtype=torch.float16)
        timestep, tokens = torch.tensor(1), torch.zeros(1, 77, dtype=torch.int64)
        print("| at once | TFLOP | GB of products | GB of all else | kernels | GroupNorms |")
        print("|---|---:|---:|---:|---:|---:|")
        call = measure(f"U-Net, {rows} rows", lambda: unet(latents, timestep, encoder_hidden_states=states))
        encode = measure(f"encoding, {images} images", lambda: vae.encode(pixels).latent_dist.mean)
        decode = measure(f"decoding, {images} images", lambda: vae.decode(latents[:images]).sample)
        measure("a prompt", lambda: text(tokens))
    total = (38 * call["flop"] + encode["flop"] + decode["flop"]) / images / 1e12
    print(f"\nan image, 38 guided calls: {total:.1f} TFLOP, {38 * call['kernels'] / images:,.0f} kernels of the U-Net")
    return 0


if __name__ == "__main__":
    sys.exit(main())
