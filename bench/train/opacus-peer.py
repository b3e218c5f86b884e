"""Opacus as a peer of `npm run bench -- train`: DP-SGD steps of the same network on the same numbers.

A line of JSON in, a line of JSON out:

    {"op": "open", "id", "layers", "weights", "inputs", "labels", "batch", "clip", "noise", "mode", "device"}
        -> {"sum": flat clipped gradient sum of the first batch, in the order of pipeline/network/weights.ts}
    {"op": "turn", "id", "ms"} -> {"perSecond": examples a second of CPU time (on a GPU: of wall time)}
    {"op": "close", "id"} -> {"ok": true}

`mode` is "ghost" or "hooks" (Opacus's names of grad_sample_mode). A step is zero_grad, forward, loss, backward, and the
optimizer's step with its noise, on tensors that lie ready: no data loader is measured. CPU time is that of the whole
process with one thread.
"""

import json
import os
import sys
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from opacus import PrivacyEngine
from torch import nn

warnings.filterwarnings("ignore")
torch.set_num_threads(1)


class Square(nn.Module):
    def forward(self, x):
        return x * x


class RowMajor(nn.Module):
    """[channels, height, width] to ours, [height, width, channels], flat."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


ACTIVATIONS = {"relu": nn.ReLU, "square": Square, "tanh": nn.Tanh}


def build(layers):
    modules = []
    for layer in layers:
        if layer["kind"] == "conv":
            modules.append(nn.Conv2d(layer["in"], layer["out"], layer["kernel"], layer["stride"]))
        elif layer["kind"] == "flatten":
            modules.append(RowMajor())
        else:
            modules.append(nn.Linear(layer["in"], layer["out"]))
        if layer.get("activation"):
            modules.append(ACTIVATIONS[layer["activation"]]())
    return nn.Sequential(*modules)


def kernels(model):
    return [one for one in model.modules() if isinstance(one, (nn.Linear, nn.Conv2d))]


def load(model, flat):
    """Sets the weights from ours: kernel row-major [in][out] or [height][width][in][out], then the bias."""
    values, at = torch.tensor(flat, dtype=torch.float32), 0
    for one in kernels(model):
        count, shape = one.weight.numel(), one.weight.shape
        kernel = values[at : at + count]
        at += count
        with torch.no_grad():
            if isinstance(one, nn.Linear):
                one.weight.copy_(kernel.reshape(shape[1], shape[0]).T)
            else:
                out, channels, height, width = shape
                one.weight.copy_(kernel.reshape(height, width, channels, out).permute(3, 2, 0, 1))
            one.bias.copy_(values[at : at + shape[0]])
        at += shape[0]


def flat(model):
    parts = []
    for one in kernels(model):
        weight = one.weight.detach()
        kernel = weight.T if isinstance(one, nn.Linear) else weight.permute(2, 3, 1, 0)
        parts += [kernel.reshape(-1), one.bias.detach()]
    return torch.cat(parts).double().cpu()


class Job:
    def __init__(self, request):
        device = torch.device(request.get("device", "cpu"))
        self.device, self.batch = device, request["batch"]
        self.inputs = torch.tensor(request["inputs"], dtype=torch.float32)
        self.inputs = self.inputs.reshape(-1, *request["shape"]).to(device)
        self.labels = torch.tensor(request["labels"], dtype=torch.long).to(device)
        model = build(request["layers"])
        load(model, request["weights"])
        model.to(device)
        before = flat(model)
        self.rate = 0.1
        optimizer = torch.optim.SGD(model.parameters(), lr=self.rate)
        rows = torch.utils.data.TensorDataset(self.inputs, self.labels)
        loader = torch.utils.data.DataLoader(rows, batch_size=self.batch)
        made = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            data_loader=loader,
            noise_multiplier=0.0,
            max_grad_norm=request["clip"],
            grad_sample_mode=request["mode"],
            poisson_sampling=False,
        )
        if request["mode"] == "ghost":
            self.model, self.optimizer, self.criterion, _ = made
        else:
            self.model, self.optimizer, _ = made
            self.criterion = nn.CrossEntropyLoss()
        self.next = 0
        self.step()
        self.sum = (before - flat(model)) / self.rate * self.batch
        self.optimizer.noise_multiplier = request["noise"]

    def step(self):
        start = self.next * self.batch
        if start + self.batch > len(self.labels):
            start, self.next = 0, 0
        self.next += 1
        rows, labels = self.inputs[start : start + self.batch], self.labels[start : start + self.batch]
        self.optimizer.zero_grad()
        self.criterion(self.model(rows), labels).backward()
        self.optimizer.step()

    def turn(self, ms):
        on_cpu = self.device.type == "cpu"
        clock = time.process_time if on_cpu else time.perf_counter
        steps, start = 0, clock()
        while True:
            self.step()
            if not on_cpu:
                torch.cuda.synchronize()
            steps += 1
            spent = clock() - start
            if spent * 1000 >= ms:
                return steps * self.batch / spent


jobs = {}


def answer(request):
    op, name = request["op"], request["id"]
    if op == "open":
        jobs[name] = Job(request)
        return {"sum": jobs[name].sum.tolist()}
    if op == "turn":
        return {"perSecond": jobs[name].turn(request["ms"])}
    del jobs[name]
    return {"ok": True}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
