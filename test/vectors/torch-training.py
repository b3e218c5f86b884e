"""Golden vectors of test/stages/train/torch.test.ts: clipped steps as PyTorch takes them. pip install torch numpy, then: python torch-training.py torch-training.json"""
import json, sys
import numpy as np, torch
from torch import nn
rng = np.random.default_rng(12)
ROWS, STEPS, RATE, MOMENTUM, CLIP = 6, 12, 0.5, 0.9, 1.0
def u(*shape): return np.round(rng.uniform(-1, 1, shape) * 1024) / 1024
def tensor(a): return torch.tensor(np.asarray(a), dtype=torch.float64)
cases = []


class Chain(nn.Module):
    """Layers of [steps][features], the last state or everything flat in front of the last one."""
    def __init__(self, layers, last):
        super().__init__()
        self.layers, self.last = nn.ModuleList(layers), last

    def forward(self, x):
        for layer in self.layers[:-1]:
            if isinstance(layer, (nn.Conv1d, nn.MaxPool1d)): x = layer(x.T[None])[0].T
            else: x = layer(x)
            if isinstance(x, tuple): x = x[0]
        return self.layers[-1](x[-1] if self.last else x.reshape(-1))


def gates(matrix, units, order):
    """Rows of PyTorch's gates in another order."""
    return torch.cat([matrix[units * g:units * (g + 1)] for g in order])


def flat_of(layer, read):
    """A layer's numbers in Sealstream's flat order, which is Keras'. read: what stands for a parameter (itself, its gradient)."""
    if isinstance(layer, nn.GRU):  # z r h here, r z n there
        parts = [gates(read(p), layer.hidden_size, (1, 0, 2)) for p in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)]
    elif isinstance(layer, nn.LSTM):  # i f g o in both; one bias here, so the second stays 0 there
        parts = [read(p) for p in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)]
    elif isinstance(layer, nn.Conv1d): parts = [read(layer.weight).permute(2, 1, 0), read(layer.bias)]
    elif isinstance(layer, nn.Embedding): return read(layer.weight).reshape(-1)
    elif isinstance(layer, (nn.Linear, nn.LayerNorm)): parts = [read(layer.weight), read(layer.bias)]
    else: return torch.zeros(0, dtype=torch.float64)
    return torch.cat([(p.T if p.dim() == 2 else p).reshape(-1) for p in parts])


def case(name, network, layers, inputs, last):
    model = Chain(layers, last).double()
    for p in model.parameters(): p.data = tensor(u(*p.shape)) / 2
    for layer in layers:
        if isinstance(layer, nn.LSTM): layer.bias_hh_l0.data.zero_(); layer.bias_hh_l0.requires_grad = False
    everything = lambda read: torch.cat([flat_of(layer, read) for layer in layers])
    labels = [row % 3 for row in range(ROWS)]
    begin = everything(lambda p: p.data).tolist()
    own = [p for p in model.parameters() if p.requires_grad]
    speed = [torch.zeros_like(p) for p in own]
    losses, norms = [], []
    for step in range(STEPS):
        sums, total = [torch.zeros_like(p) for p in own], 0.0
        for x, label in zip(inputs, labels):
            loss = nn.functional.cross_entropy(model(x)[None], torch.tensor([label]))
            slopes = torch.autograd.grad(loss, own)
            norm = float(torch.sqrt(sum((g ** 2).sum() for g in slopes)))
            if step == 0: norms.append(norm)
            total += loss.item()
            for s, g in zip(sums, slopes): s += g * min(1.0, CLIP / norm)
        losses.append(total)
        for p, v, s in zip(own, speed, sums):
            v.mul_(MOMENTUM).add_(s / ROWS)
            p.data.sub_(RATE * v)
    print(name, norms, losses)
    cases.append({"name": name, "network": network, "inputs": [x.reshape(-1).tolist() for x in inputs], "labels": labels,
                  "begin": begin, "losses": losses, "end": everything(lambda p: p.data).tolist()})


def sequences(steps, features): return [tensor(u(steps, features)) for _ in range(ROWS)]
case("lstm", [{"reshape": [5, 3]}, {"lstm": 4}, {"dense": 3}], [nn.LSTM(3, 4), nn.Linear(4, 3)], sequences(5, 3), True)
case("gru", [{"reshape": [5, 3]}, {"gru": 4}, {"dense": 3}], [nn.GRU(3, 4), nn.Linear(4, 3)], sequences(5, 3), True)
case("lstm of every state of a gru", [{"reshape": [4, 2]}, {"gru": 3, "sequences": True}, {"lstm": 2, "sequences": True}, {"dense": 3}],
     [nn.GRU(2, 3), nn.LSTM(3, 2), nn.Linear(8, 3)], sequences(4, 2), False)
case("layerNorm of each state", [{"reshape": [4, 2]}, {"gru": 3, "sequences": True}, {"layerNorm": 0.001, "activation": "none"}, {"dense": 3}],
     [nn.GRU(2, 3), nn.LayerNorm(3, eps=0.001), nn.Linear(12, 3)], sequences(4, 2), False)
case("convolution over time, maximum", [{"reshape": [7, 2]}, {"conv1d": 4, "kernelSize": 3, "strides": 1, "padding": "valid", "activation": "tanh"}, {"maxPool1d": 2, "strides": 2}, {"dense": 3}],
     [nn.Conv1d(2, 4, 3), nn.Tanh(), nn.MaxPool1d(2, 2), nn.Linear(8, 3)], sequences(7, 2), False)
case("embedding", [{"embedding": 3, "vocabulary": 5}, {"lstm": 4}, {"dense": 3}], [nn.Embedding(5, 3), nn.LSTM(3, 4), nn.Linear(4, 3)],
     [torch.tensor(rng.integers(0, 5, 6)) for _ in range(ROWS)], True)
json.dump({"made": f"torch {torch.__version__.split('+')[0]}, float64, seed 12", "steps": STEPS, "rate": RATE, "momentum": MOMENTUM, "clip": CLIP, "cases": cases}, open(sys.argv[1], "w"))
