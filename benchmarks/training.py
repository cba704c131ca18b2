"""Measure the training speed in slices per second, by step: `python benchmarks/training.py [DEPTH]`.

Batches of 32 slices of 224×224 on the CPU. On a busy machine, set OMP_NUM_THREADS=1 and use the CPU seconds: threads
that wait for each other consume CPU time as well.
"""

import sys
import time

import numpy as np
import torch

from GTRStagingLib.model.network import GTRNet
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.staging.preprocess import normalised
from GTRStagingLib.training.augment import augmented

BATCH, ROUNDS = 32, 4


def measured(name, do):
    """Print the fastest of the rounds, since other load on the machine can only add time."""
    do()
    rounds = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        do()
        rounds.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (min(times) for times in zip(*rounds, strict=True))
    print(f"{name:<34} {wall:7.3f} s wall {cpu:7.3f} s CPU  {BATCH / wall:7.1f} slices/s wall {BATCH / cpu:7.1f} CPU")


def main():
    depth = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rng = np.random.default_rng(0)
    slices = rng.uniform(0, 255, (BATCH, 224, 224)).astype(np.float32)
    print(f"ResNet-{depth}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    measured("augmentation", lambda: [augmented(one, (0, 0, i)) for i, one in enumerate(slices)])
    measured("normalisation", lambda: [normalised(one[None], GTR) for one in slices])
    pixels, stages = torch.from_numpy(normalised(slices, GTR)), torch.from_numpy(rng.integers(0, 4, BATCH))
    for layout in (torch.contiguous_format, torch.channels_last):
        network = GTRNet(depth).to(memory_format=layout)
        optimiser, seen = torch.optim.Adam(network.parameters(), 1e-4), pixels.contiguous(memory_format=layout)
        for bf16 in (False, True):

            def step(network=network, optimiser=optimiser, seen=seen, bf16=bf16):
                optimiser.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = torch.nn.functional.cross_entropy(network(seen), stages)
                loss.backward()
                optimiser.step()

            order = "channels last" if layout is torch.channels_last else "channels first"
            measured(f"step, {order}, {'bf16-mixed' if bf16 else '32-true'}", step)


if __name__ == "__main__":
    main()
