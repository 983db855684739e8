"""The reference page shows the tables as they are."""

from pto_slurm.reference import PAGE, filled, tables


def test_the_page_shows_the_tables_of_the_code():
    page = PAGE.read_text()
    assert all(f"<!-- {name}:begin -->" in page for name in tables())
    assert filled(page) == page, "run: python -m pto_slurm.reference"
