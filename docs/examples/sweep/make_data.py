"""Makes two interleaved half circles with noise, split into training and validation. The same for the same seed."""

import argparse
import csv
import math
import random
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    rows = []
    for number in range(options.points):
        angle, label = math.pi * chance.random(), number % 2
        x, y = (math.cos(angle), math.sin(angle)) if label == 0 else (1 - math.cos(angle), 0.5 - math.sin(angle))
        rows.append((x + chance.gauss(0, options.noise), y + chance.gauss(0, options.noise), label))
    chance.shuffle(rows)
    options.folder.mkdir(parents=True, exist_ok=True)
    cut = options.points * 3 // 4
    for name, part in (("train", rows[:cut]), ("validation", rows[cut:])):
        with (options.folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows((f"{x:.6f}", f"{y:.6f}", label) for x, y, label in part)
    print(f"{cut} points to train with, {options.points - cut} to validate with")


if __name__ == "__main__":
    main()
