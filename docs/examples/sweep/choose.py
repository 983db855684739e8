"""Chooses the best of several trained models and writes a report."""

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    results = [json.loads(path.read_text()) for path in sorted(options.results.glob("*.json"))]
    results.sort(key=lambda one: (-one["validation_accuracy"], one["hidden"], one["rate"]))
    best = results[0]
    lines = ["# Sweep", "", f"Best: rate {best['rate']} with {best['hidden']} hidden units, "]
    lines[-1] += f"{best['validation_accuracy']:.1%} of the validation points right."
    lines += ["", "| Rate | Hidden units | Training | Validation |", "|---|---|---|---|"]
    lines += [
        f"| {one['rate']} | {one['hidden']} | {one['train_accuracy']:.1%} | {one['validation_accuracy']:.1%} |"
        for one in results
    ]
    for path, text in ((options.model, json.dumps(best)), (options.report, "\n".join(lines) + "\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(lines[2])


if __name__ == "__main__":
    main()
