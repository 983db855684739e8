"""The archetype of calculators.

Imports siblings only. Invariant: two parts, the second reading expressions with the operations of the first.
"""

from pto_engines.simulated.blueprint import Design, Names, Part, module_files, setup_files


def design_calculator(names: Names) -> Design:
    """Exact operations, and expressions over them."""
    operations = (*setup_files(names), *module_files(names, "calculator", ("operations",)))
    parts = (
        Part("operations", "Operations", "Set up the package; add, subtract, multiply, divide exactly.", operations),
        Part(
            "expressions",
            "Expressions",
            "Read expressions with brackets and powers, without eval, also from the command line.",
            module_files(names, "calculator", ("expression",)),
            ("operations",),
        ),
    )
    return Design(parts, f'```sh\nPYTHONPATH=src python3 -m {names.package}.expression "2 * (3 + 4)"\n```')
