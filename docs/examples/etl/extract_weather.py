"""Makes daily weather as a provider would deliver it: Fahrenheit, and some rows broken. The same every time."""

import argparse
import csv
import math
import random
from datetime import date, timedelta
from pathlib import Path

CITIES = {"bergen": (8.0, 7.0, 0.62), "lyon": (13.0, 10.0, 0.33), "porto": (15.5, 6.0, 0.36)}
"""City -> mean and swing of the temperature over the year in Celsius, and how often it rains."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", type=Path)
    parser.add_argument("--year", type=int, required=True)
    options = parser.parse_args()
    chance = random.Random(options.year)
    options.target.parent.mkdir(parents=True, exist_ok=True)
    with options.target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["day", "city", "temperature_f", "rain_mm"])
        day = date(options.year, 1, 1)
        while day.year == options.year:
            for city, (mean, swing, wet) in CITIES.items():
                season = -math.cos(2 * math.pi * (day.timetuple().tm_yday - 20) / 365)
                celsius = mean + swing * season + chance.gauss(0, 2.5)
                rain = chance.expovariate(1 / 6) if chance.random() < wet else 0.0
                broken = chance.random() < 0.01
                writer.writerow([day, city, "n/a" if broken else f"{celsius * 9 / 5 + 32:.1f}", f"{rain:.1f}"])
            day += timedelta(days=1)


if __name__ == "__main__":
    main()
