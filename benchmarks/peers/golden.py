"""Print the losses that PyTorch reaches in the golden training runs of tests/test_golden.py.

Run with an interpreter that has PyTorch and scikit-learn: ``python benchmarks/peers/golden.py``. The network starts
from weights given by a formula, so nothing but numbers has to be stored:

    8x8x1, conv 3x3 of 6 padding 1, ReLU, max pool 2, conv 3x3 of 10, tanh, average pool 2 stride 1, dense 10

in float64, on the first 96 of scikit-learn's digits divided by 16, in mini-batches of 32 in order. With batch
normalisation: the same without intercepts, normalised after either convolution (before ReLU and tanh) and before the
dense layer; the running statistics of the first are printed, too.
"""

import math

import torch
from sklearn.datasets import load_digits


def formula(*shape):
    """Weights of a channels-last layer, outputs last: a scaled sine of their position."""
    n = math.prod(shape)
    return torch.sin(torch.arange(n, dtype=torch.float64) * 1.7 + 0.3).reshape(shape) / math.sqrt(n / shape[-1])


def network(normalised):
    """Layers, and the function from images to logits."""
    conv1 = torch.nn.Conv2d(1, 6, 3, padding=1, bias=not normalised, dtype=torch.float64)
    conv2 = torch.nn.Conv2d(6, 10, 3, bias=not normalised, dtype=torch.float64)
    dense = torch.nn.Linear(10, 10, dtype=torch.float64)
    norms = [torch.nn.Identity()] * 3
    if normalised:
        norms = [torch.nn.BatchNorm2d(6), torch.nn.BatchNorm2d(10), torch.nn.BatchNorm1d(10)]
    layers = torch.nn.ModuleList([conv1, conv2, dense, *norms]).double()
    with torch.no_grad():
        conv1.weight.copy_(formula(3, 3, 1, 6).permute(3, 2, 0, 1))
        conv2.weight.copy_(formula(3, 3, 6, 10).permute(3, 2, 0, 1))
        dense.weight.copy_(formula(10, 10).T)
        for layer in (conv1, conv2, dense):
            if layer.bias is not None:
                layer.bias.zero_()

    def forward(x):
        h = torch.max_pool2d(torch.relu(norms[0](conv1(x))), 2)
        h = torch.nn.functional.avg_pool2d(torch.tanh(norms[1](conv2(h))), 2, stride=1)
        return dense(norms[2](h.flatten(1)))

    return layers, forward


def main():
    digits = load_digits()
    x = torch.tensor(digits.images[:96] / 16).unsqueeze(1)
    y = torch.tensor(digits.target[:96])
    for normalised in (False, True):
        for name, make in (
            ("adam", lambda parameters: torch.optim.Adam(parameters, lr=0.01, eps=1e-30)),
            ("sgd", lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True)),
        ):
            layers, forward = network(normalised)
            optimizer = make(layers.parameters())
            losses = []
            for step in range(12):
                batch = slice(step % 3 * 32, step % 3 * 32 + 32)
                loss = torch.nn.functional.cross_entropy(forward(x[batch]), y[batch])
                losses.append(loss.item())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            print("normalised" if normalised else "plain", name, [round(loss, 12) for loss in losses])
            if normalised:
                for statistic in (layers[3].running_mean, layers[3].running_var):
                    print([round(value, 12) for value in statistic.tolist()])


if __name__ == "__main__":
    main()
