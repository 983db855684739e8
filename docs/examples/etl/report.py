"""Writes a report from the database. Arguments: database, target."""

import sqlite3
import sys
from pathlib import Path
from statistics import correlation, mean


def main(database: Path, target: Path) -> None:
    connection = sqlite3.connect(database)
    cities = [row[0] for row in connection.execute("select distinct city from daily order by city")]
    lines = ["# Rides and temperature", "", "| City | Days | Rides a day | Dry days | Wet days | Correlation |"]
    lines.append("|---|---|---|---|---|---|")
    for city in cities:
        rows = connection.execute("select rides, temperature_c, rain_mm from daily where city = ?", (city,)).fetchall()
        rides = [row[0] for row in rows]
        dry = mean(row[0] for row in rows if not row[2])
        wet = mean(row[0] for row in rows if row[2])
        together = correlation(rides, [row[1] for row in rows])
        lines.append(f"| {city} | {len(rows)} | {mean(rides):.0f} | {dry:.0f} | {wet:.0f} | {together:.2f} |")
    connection.close()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
