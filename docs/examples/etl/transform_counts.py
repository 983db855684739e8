"""Sums up hourly counts to days, without hours with a sensor fault. Arguments: source (counts-CITY.jsonl), target."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path


def main(source: Path, target: Path) -> None:
    city = source.stem.removeprefix("counts-")
    days: Counter[str] = Counter()
    faults = 0
    with source.open() as lines:
        for line in lines:
            reading = json.loads(line)
            if reading["rides"] < 0:
                faults += 1
                continue
            days[reading["hour"][:10]] += reading["rides"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "city", "rides"])
        writer.writerows([day, city, rides] for day, rides in sorted(days.items()))
    print(f"{city}: {len(days)} days, {faults} faulty hours left out")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
