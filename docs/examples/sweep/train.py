"""Trains a network with one hidden layer by stochastic gradient descent, in plain Python. The same every time."""

from __future__ import annotations  # Python 3.8 will do, on compute nodes too

import argparse
import csv
import json
import math
import random
from pathlib import Path


class Network:
    """tanh hidden units, one sigmoid output."""

    def __init__(self, hidden: int, chance: random.Random) -> None:
        self.hidden = [[chance.gauss(0, 1) for _ in range(3)] for _ in range(hidden)]
        self.output = [chance.gauss(0, 0.5) for _ in range(hidden + 1)]

    def predict(self, x: float, y: float) -> tuple[list[float], float]:
        units = [math.tanh(a * x + b * y + c) for a, b, c in self.hidden]
        total = sum(self.output[at] * unit for at, unit in enumerate(units)) + self.output[-1]
        return units, 1 / (1 + math.exp(-max(-60.0, min(60.0, total))))

    def learn(self, x: float, y: float, label: int, rate: float) -> None:
        units, guess = self.predict(x, y)
        error = guess - label
        for at, unit in enumerate(units):
            slope = error * self.output[at] * (1 - unit * unit)
            self.output[at] -= rate * error * unit
            weights = self.hidden[at]
            weights[0] -= rate * slope * x
            weights[1] -= rate * slope * y
            weights[2] -= rate * slope
        self.output[-1] -= rate * error

    def accuracy(self, points: list[tuple[float, float, int]]) -> float:
        return sum((self.predict(x, y)[1] > 0.5) == bool(label) for x, y, label in points) / len(points)


def read(path: Path) -> list[tuple[float, float, int]]:
    with path.open(newline="") as file:
        return [(float(x), float(y), int(label)) for x, y, label in csv.reader(file)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--hidden", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--target", type=Path, required=True)
    options = parser.parse_args()
    train, validation = read(options.data / "train.csv"), read(options.data / "validation.csv")
    chance = random.Random(options.hidden)
    network = Network(options.hidden, chance)
    for _ in range(options.epochs):
        chance.shuffle(train)
        for x, y, label in train:
            network.learn(x, y, label, options.rate)
    result = {
        "rate": options.rate,
        "hidden": options.hidden,
        "train_accuracy": round(network.accuracy(train), 4),
        "validation_accuracy": round(network.accuracy(validation), 4),
        "weights": {"hidden": network.hidden, "output": network.output},
    }
    options.target.parent.mkdir(parents=True, exist_ok=True)
    options.target.write_text(json.dumps(result))
    print(f"rate {options.rate}, {options.hidden} hidden units: {result['validation_accuracy']:.1%} right")


if __name__ == "__main__":
    main()
