"""Makes hourly bike counts of one city as its sensors would deliver them, with faults. The same every time."""

import argparse
import json
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

SIZE = {"bergen": 220, "lyon": 900, "porto": 310}
"""Rides in a busy hour."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", type=Path)
    parser.add_argument("--city", choices=SIZE, required=True)
    parser.add_argument("--year", type=int, required=True)
    options = parser.parse_args()
    chance = random.Random(f"{options.city}{options.year}")
    options.target.parent.mkdir(parents=True, exist_ok=True)
    hour = datetime(options.year, 1, 1)
    with options.target.open("w") as file:
        while hour.year == options.year:
            season = 1 - 0.5 * math.cos(2 * math.pi * (hour.timetuple().tm_yday - 20) / 365)
            rush = math.exp(-((hour.hour - 8) ** 2) / 4) + math.exp(-((hour.hour - 17) ** 2) / 6) + 0.1
            work = 1.0 if hour.weekday() < 5 else 0.6
            rides = max(0, round(SIZE[options.city] * season * rush * work * chance.gauss(1, 0.15)))
            fault = chance.random() < 0.002
            file.write(json.dumps({"hour": hour.isoformat(), "rides": -1 if fault else rides}) + "\n")
            hour += timedelta(hours=1)


if __name__ == "__main__":
    main()
