"""What staging costs beyond the bare network, paired in one run.

    python benchmarks/latency.py [--rounds 15] [--threads N] [--json FILE]

Three things are timed in turn, round after round, so that a busy machine slows all of them alike:

- bare: an eager forward pass of torchvision's ResNet-152, three slices in one batch;
- ours: prediction, 2,048 features and Grad-CAM of the same three slices, the map laid on the input grid;
- usual: the same network predicts, and pytorch-grad-cam then runs on the full model.

The figure that counts is the median of the rounds' ratios.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torchvision
from pytorch_grad_cam import GradCAM

from GTRStagingLib import weights
from GTRStagingLib.attention import attend
from GTRStagingLib.network import classify
from GTRStagingLib.voting import vote


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    model = weights.untrained()
    plain = torchvision.models.resnet152(num_classes=4)
    own = {key: value for key, value in model.network.state_dict().items() if not key.startswith("detail.")}
    plain.load_state_dict(own, strict=True)
    plain.eval()
    pixels = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
    batch = torch.from_numpy(pixels)
    grid = sitk.Image([224, 224, 3], sitk.sitkUInt8)

    def bare():
        with torch.no_grad():
            return plain(batch).numpy()

    def ours():
        seen = classify(model.network, pixels)
        prediction = vote((-1, 0, 1), weights.probabilities(seen.logits, model.card))
        attention = attend(model.network, seen.feature_map, grid, target=prediction.stage)
        return seen.logits, attention.on(grid)

    def usual():
        with torch.no_grad():
            logits = plain(batch)
        # Its default target: each slice's own highest logit.
        with GradCAM(model=plain, target_layers=[plain.layer4]) as cam:
            return logits.numpy(), cam(batch, None)

    timed = {"bare": bare, "ours": ours, "usual": usual}
    for run in timed.values():
        run()
    np.testing.assert_allclose(ours()[0], bare(), atol=1e-5)
    seconds = {name: [] for name in timed}
    for _ in range(options.rounds):
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

    def ratio(a, b):
        return statistics.median(x / y for x, y in zip(seconds[a], seconds[b], strict=True))

    result = {
        "seconds_median": {name: statistics.median(values) for name, values in seconds.items()},
        "ours_over_bare": ratio("ours", "bare"),
        "ours_over_usual": ratio("ours", "usual"),
        "usual_over_bare": ratio("usual", "bare"),
        "rounds": options.rounds,
        "threads": options.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    for name, value in result["seconds_median"].items():
        print(f"{name:<8} {value:.3f} s   (median of {options.rounds} rounds, {options.threads} threads)")
    print(f"ours  / bare   {result['ours_over_bare']:.2f}   (aim: at most 1.15)")
    print(f"ours  / usual  {result['ours_over_usual']:.2f}")
    print(f"usual / bare   {result['usual_over_bare']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
