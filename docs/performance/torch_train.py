#!/usr/bin/env python3
"""How fast PyTorch trains the same nets: the other side of shoal bench --compare.

Needs torch and torchvision (apt-get install python3-torch python3-torchvision). Channels-last, the faster layout on a CPU,
random images in memory, and nothing but forward, backward and the update in a step. Prints one line of JSON.
"""
import argparse
import json
import resource
import statistics
import time

import torch
import torchvision

flags = argparse.ArgumentParser()
flags.add_argument("--model", default="mobilenet_v2", choices=["mobilenet_v2", "squeezenet1_1"])
flags.add_argument("--width", type=float, default=0.5)
flags.add_argument("--input", type=int, default=128)
flags.add_argument("--batch", type=int, default=12)
flags.add_argument("--threads", type=int, default=2)
flags.add_argument("--steps", type=int, default=30)
o = flags.parse_args()

torch.set_num_threads(o.threads)
torch.manual_seed(0)
if o.model == "mobilenet_v2":
    model = torchvision.models.mobilenet_v2(width_mult=o.width, num_classes=10)
else:
    model = torchvision.models.squeezenet1_1(num_classes=10)
model = model.to(memory_format=torch.channels_last).train()
x = torch.randn(o.batch, 3, o.input, o.input).to(memory_format=torch.channels_last)
y = torch.randint(0, 10, (o.batch,))
sgd = torch.optim.SGD(model.parameters(), lr=5e-4, momentum=0.9)
loss = torch.nn.CrossEntropyLoss()


def step():
    began = time.perf_counter()
    sgd.zero_grad()
    loss(model(x), y).backward()
    sgd.step()
    return time.perf_counter() - began


for _ in range(5):
    step()
times = [step() for _ in range(o.steps)]
median = statistics.median(times)
print(json.dumps({
    "peer": "PyTorch " + torch.__version__, "model": o.model, "width": o.width, "input": o.input, "batch": o.batch,
    "threads": o.threads, "images_per_second": o.batch / median, "step_ms_median": median * 1e3,
    "step_ms_min": min(times) * 1e3, "step_ms_max": max(times) * 1e3,
    "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
