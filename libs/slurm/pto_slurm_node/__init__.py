"""What runs on compute nodes, packed with the harness into one file; standard library only, Python >= 3.8."""
