"""Cleans the weather: Celsius, no broken rows. Arguments: source, target."""

import csv
import sys
from pathlib import Path


def main(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    dropped = kept = 0
    with source.open(newline="") as rows, target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "city", "temperature_c", "rain_mm"])
        for row in csv.DictReader(rows):
            try:
                celsius = (float(row["temperature_f"]) - 32) * 5 / 9
            except ValueError:
                dropped += 1
                continue
            writer.writerow([row["day"], row["city"], f"{celsius:.2f}", row["rain_mm"]])
            kept += 1
    print(f"{kept} days kept, {dropped} broken ones dropped")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
