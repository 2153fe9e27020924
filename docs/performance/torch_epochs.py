#!/usr/bin/env python3
"""Ten epochs of CIFAR-10 by PyTorch, with the recipe of the preset cifar10: the other side of the accuracy table.

    apt-get install python3-torch python3-torchvision      (or: pip install torch torchvision)
    python3 torch_epochs.py --data DIR --seed 1            DIR holds data_batch_1.bin … test_batch.bin

Prints one JSON line per epoch: seconds of training, mean training loss, test accuracy and test loss. MobileNetV2 at width
0.5 without dropout (Shoal's has none), residual branches that begin at zero, SGD with momentum and weight decay on every
parameter, gradients clipped to a norm of five, the rate warmed up over the first epoch and then falling as a cosine, images
mirrored and shifted by up to four pixels over black. Before a score the batch-norm statistics are re-estimated from a
hundred training batches, as Shoal does: those that run along are so noisy here that they move the accuracy by up to ten
points. accuracy_running is by these.
"""
import argparse, json, math, time
import numpy as np, torch, torchvision
import torch.nn.functional as F

a = argparse.ArgumentParser()
a.add_argument("--data", required=True)
a.add_argument("--seed", type=int, default=1)
a.add_argument("--epochs", type=int, default=10)
a.add_argument("--batch", type=int, default=64)
a.add_argument("--rate", type=float, default=0.05)
a.add_argument("--clip", type=float, default=5.0)
a.add_argument("--threads", type=int, default=2)
o = a.parse_args()
torch.set_num_threads(o.threads)
torch.manual_seed(o.seed)


def read(names):
    rows = np.concatenate([np.fromfile(f"{o.data}/{n}.bin", np.uint8).reshape(-1, 3073) for n in names])
    x = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255)
    return x, torch.from_numpy(rows[:, 0].astype(np.int64))


x, y = read([f"data_batch_{i}" for i in range(1, 6)])
tx, ty = read(["test_batch"])
mean, std = x.mean((0, 2, 3)).view(1, 3, 1, 1), x.std((0, 2, 3)).view(1, 3, 1, 1)
x, tx = (x - mean) / std, (tx - mean) / std
black = (-mean / std).flatten().tolist()
model = torchvision.models.mobilenet_v2(width_mult=0.5, num_classes=10, dropout=0.0).to(memory_format=torch.channels_last)
for block in model.modules():
    if isinstance(block, torchvision.models.mobilenetv2.InvertedResidual) and block.use_res_connect:
        torch.nn.init.zeros_(block.conv[-1].weight)
sgd = torch.optim.SGD(model.parameters(), lr=o.rate, momentum=0.9, weight_decay=1e-4)
steps = math.ceil(len(x) / o.batch)


def rate(step):  # warm-up over one epoch, then a cosine to nothing at the end
    if step < steps:
        return o.rate * (step + 1) / steps
    return o.rate * 0.5 * (1 + math.cos(math.pi * (step - steps) / (steps * (o.epochs - 1))))


def augment(b):
    n = len(b)
    flip = torch.rand(n) < 0.5
    b[flip] = b[flip].flip(3)
    p = torch.cat([F.pad(b[:, c:c + 1], (4, 4, 4, 4), value=black[c]) for c in range(3)], 1)
    dy, dx = torch.randint(0, 9, (2, n)).tolist()
    return torch.stack([p[i, :, dy[i]:dy[i] + 32, dx[i]:dx[i] + 32] for i in range(n)])


def score():
    model.eval()
    right = loss = 0
    with torch.no_grad():
        for i in range(0, len(tx), 500):
            z = model(tx[i:i + 500].contiguous(memory_format=torch.channels_last))
            loss += F.cross_entropy(z, ty[i:i + 500], reduction="sum").item()
            right += (z.argmax(1) == ty[i:i + 500]).sum().item()
    return right / len(tx), loss / len(tx)


def reestimated(batches=100):
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    kept = [(m.running_mean.clone(), m.running_var.clone(), m.momentum) for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # the plain mean over batches
    model.train()
    order = torch.randperm(len(x))
    with torch.no_grad():
        for i in range(batches):
            model(augment(x[order[i * o.batch:(i + 1) * o.batch]]).contiguous(memory_format=torch.channels_last))
    result = score()
    for m, (mean, var, momentum) in zip(norms, kept):
        m.running_mean, m.running_var, m.momentum = mean, var, momentum
    return result


step = 0
for epoch in range(o.epochs):
    model.train()
    order, total, begun = torch.randperm(len(x)), 0.0, time.perf_counter()
    for i in range(0, len(x), o.batch):
        for g in sgd.param_groups:
            g["lr"] = rate(step)
        pick = order[i:i + o.batch]
        sgd.zero_grad()
        loss = F.cross_entropy(model(augment(x[pick]).contiguous(memory_format=torch.channels_last)), y[pick])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), o.clip)
        sgd.step()
        total += loss.item() * len(pick)
        step += 1
    seconds = time.perf_counter() - begun
    running = score()[0]
    accuracy, test_loss = reestimated()
    row = {"peer": "torch " + torch.__version__, "seed": o.seed, "epoch": epoch + 1, "seconds": round(seconds, 1),
           "train_loss": round(total / len(x), 4), "accuracy": accuracy, "accuracy_running": running,
           "test_loss": round(test_loss, 4)}
    print(json.dumps(row), flush=True)
