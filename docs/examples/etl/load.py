"""Loads the cleaned files into one SQLite database. Arguments: database, weather file, count files."""

import csv
import sqlite3
import sys
from pathlib import Path

SCHEMA = """
create table weather (day text, city text, temperature_c real, rain_mm real, primary key (day, city));
create table rides (day text, city text, rides integer, primary key (day, city));
create view daily as select * from rides join weather using (day, city);
"""


def main(database: Path, weather: Path, counts: list[Path]) -> None:
    database.unlink(missing_ok=True)
    connection = sqlite3.connect(database)
    with connection:
        connection.executescript(SCHEMA)
        with weather.open(newline="") as file:
            rows = [tuple(row.values()) for row in csv.DictReader(file)]
        connection.executemany("insert into weather values (?, ?, ?, ?)", rows)
        for path in sorted(counts):
            with path.open(newline="") as file:
                connection.executemany("insert into rides values (?, ?, ?)", list(csv.reader(file))[1:])
    joined = connection.execute("select count(*) from daily").fetchone()[0]
    connection.close()
    print(f"{len(rows)} days of weather, {len(counts)} cities, {joined} days with both")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
