"""The U-Net beside diffusers' UNet2DModel: one training step and one evaluation per image, same sizes, same run.

    pip install diffusers            # not needed by sundog
    OMP_NUM_THREADS=1 python benchmarks/unet_speed.py [--size 80] [--batch 8] [--parameters 6e5] [--rounds 5] [--bf16]
        [--equal parameters]
    OMP_NUM_THREADS=1 python benchmarks/unet_speed.py --layouts                   # single layers by the order in memory
    OMP_NUM_THREADS=1 python benchmarks/unet_speed.py --series [--size 128] ...   # the 1-D U-Net beside UNet1DModel

Levels, channels per level, blocks per level on the way down, attention (coarsest level and middle), resolution,
precision and optimiser are equal. What differs is the design: diffusers has one block more per level on the way up,
and 3 x 3 kernels where resolution changes (2 x 2 and 1 x 1 here). With ``--equal parameters`` its channels are as many
as give it the nearest number of parameters. Times are CPU seconds of this process, the two
networks take turns, the ratio is the median of the ratios of the rounds with half the 16-84 % range behind it. The
floor is the time that the same multiplications take as matrix products. UNet1DModel has three blocks per level, of two
convolutions of five points each, and attention after each block of the coarsest level.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sundog.nets.unet import UNet

MULTIPLIERS = (1, 2, 2, 3)


def of_parameters(count: int, size: int, blocks: int) -> nn.Module:
    """diffusers' network with the number of parameters nearest to ``count``, channels in steps of 4."""
    found = [theirs(size, width, blocks, False) for width in range(4, 200, 4) if width**2 < count / 400]
    return min(found, key=lambda net: abs(sum(p.numel() for p in net.parameters()) - count))


def theirs(size: int, width: int, blocks: int, series: bool) -> nn.Module:
    from diffusers import UNet1DModel, UNet2DModel

    channels = tuple(width * m for m in MULTIPLIERS)
    if series:
        return UNet1DModel(
            sample_size=size, in_channels=1, out_channels=1, extra_in_channels=2 * width,  # the time, as channels
            block_out_channels=channels,
            down_block_types=("DownBlock1DNoSkip", *("DownBlock1D",) * 2, "AttnDownBlock1D"),
            up_block_types=("AttnUpBlock1D", *("UpBlock1D",) * 2, "UpBlock1DNoSkip"),
        )  # fmt: skip
    groups = next(g for g in (32, 16, 8, 5, 4, 2, 1) if all(c % g == 0 for c in channels))
    return UNet2DModel(
        sample_size=size, in_channels=1, out_channels=1, layers_per_block=blocks, block_out_channels=channels,
        down_block_types=("DownBlock2D",) * 3 + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * 3, norm_num_groups=groups,
    )


def seconds(work: Callable[[], object], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def product_rate(dtype: torch.dtype) -> float:
    """Multiplications and additions per second of a matrix product of 1024."""
    a = torch.randn(1024, 1024).to(dtype)
    return 2 * 1024**3 / min(seconds(lambda: a @ a, 5) for _ in range(3))


def precision(bf16: bool) -> contextlib.AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()


def trainer(net: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, bf16: bool) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        with precision(bf16):
            loss = (call(x).float() - x).square().mean()
        loss.backward()
        optimiser.step()

    return step


def evaluation(call: Callable[[Tensor], Tensor], x: Tensor, bf16: bool) -> Callable[[], None]:
    def step() -> None:
        with torch.no_grad(), precision(bf16):
            call(x)

    return step


def layouts(channels: int, size: int, batch: int) -> None:
    """Milliseconds of one convolution and one group norm, value and gradient, by the order in memory."""
    print(f"{batch} images of {channels} x {size} x {size}: ms of the value, of the gradient\n| | pixels together | "
          "channels together |\n|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        conv = nn.Conv2d(channels, channels, 3, padding=1).to(dtype)
        norm = nn.GroupNorm(channels // 4, channels).to(dtype)
        for name, layer in (("3 x 3 convolution", conv), ("group norm", norm)):
            cells = []
            for order in (torch.contiguous_format, torch.channels_last):
                x = torch.randn(batch, channels, size, size).to(dtype).to(memory_format=order).requires_grad_()
                cells.append(", ".join(f"{ms:.2f}" for ms in value_and_gradient(layer, x)))
            print(f"| {name}, {str(dtype)[6:]} | " + " | ".join(cells) + " |")


def value_and_gradient(layer: nn.Module, x: Tensor) -> list[float]:
    """Milliseconds of each."""
    y = layer(x)
    wanted, g = [x, *layer.parameters()], torch.randn_like(y)
    works = (lambda: layer(x), lambda: torch.autograd.grad(y, wanted, g, retain_graph=True))
    return [1e3 * min(seconds(work, 3) for _ in range(5)) for work in works]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", action="store_true", help="one axis: series of --size points")
    parser.add_argument("--size", type=int, help="80; of series 128")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--parameters", type=float, default=6e5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--equal", choices=["channels", "parameters"], default="channels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layouts", action="store_true", help="single layers by the order in memory, then stop")
    options = parser.parse_args()
    size = options.size or (128 if options.series else 80)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.layouts:
        layouts(20, size, options.batch)
        return
    our_net = UNet(1, 1, parameters=options.parameters, levels=4, line=options.series)
    width = our_net.body.first.out_channels
    blocks = 1 if options.parameters < 2e6 else 2
    their_net = of_parameters(sum(p.numel() for p in our_net.parameters()), size, blocks) \
        if options.equal == "parameters" else theirs(size, width, blocks, options.series)
    x = torch.randn(options.batch, 1, 1 if options.series else size, size)
    t, step = torch.zeros(options.batch, 1), torch.zeros(options.batch)
    calls = {"sundog": (our_net, lambda x: our_net(x, t, None)),
             "diffusers": (their_net, lambda x: their_net(x[:, :, 0] if options.series else x, step).sample.view_as(x))}
    rate = product_rate(torch.bfloat16 if options.bf16 else torch.float32)
    print(f"{1 if options.series else size} x {size}, batch {options.batch}, width {width} x {MULTIPLIERS}, "
          f"{'bf16' if options.bf16 else 'float32'}, {options.threads} thread(s), stock allocator; "
          f"matrix product {rate / 1e9:.0f} GFLOP/s")
    print(f"{'':10}{'parameters':>12}{'GFLOP/image':>12}{'floor ms':>10}{'train ms':>10}{'evaluate ms':>12}")
    works: dict[str, dict[str, Callable[[], None]]] = {"train": {}, "evaluate": {}}
    flops = {}
    for name, (net, call) in calls.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call(x)
        flops[name] = counter.get_total_flops() / options.batch
        works["train"][name] = trainer(net, call, x, options.bf16)
        works["evaluate"][name] = evaluation(call, x, options.bf16)
    taken: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in calls} for kind in works}
    for kind, pair in works.items():
        for name in pair:
            pair[name]()  # first call: buffers
        for _ in range(options.rounds):
            for name in pair:
                taken[kind][name].append(seconds(pair[name], 3) / options.batch * 1e3)
    for name, (net, _) in calls.items():
        count = sum(p.numel() for p in net.parameters())
        train, evaluate = (statistics.median(taken[kind][name]) for kind in ("train", "evaluate"))
        print(f"{name:10}{count:12,}{flops[name] / 1e9:12.3f}{flops[name] / rate * 1e3:10.2f}"
              f"{train:10.1f}{evaluate:12.2f}")
    for kind, pair in taken.items():
        ratios = sorted(a / b for a, b in zip(pair["sundog"], pair["diffusers"]))
        spread = (ratios[int(0.84 * (len(ratios) - 1))] - ratios[int(0.16 * (len(ratios) - 1))]) / 2
        print(f"{kind}: sundog / diffusers = {statistics.median(ratios):.2f} +- {spread:.2f}")


if __name__ == "__main__":
    main()
