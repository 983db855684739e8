"""The archetype of board games: chess, and games in which stones are placed on a grid.

Imports siblings only. Invariant: the board knows no rules and the rules know no players.
"""

from pto_engines.simulated.blueprint import Design, Names, Part, module_files, setup_files


def design_chess(names: Names) -> Design:
    """Chess with all rules, a computer player and a game in the terminal."""
    steps = (
        ("moves", "How pieces move", "Generate the moves of all pieces, without regard to check.", ("board",)),
        ("rules", "Rules", "Add check, castling, legal moves and the end of a game.", ("moves",)),
        ("game", "Game", "Keep a whole game with history, taking back and results.", ("rules",)),
        ("player", "Computer player", "Choose moves by material, a few moves ahead.", ("rules",)),
        ("render", "View", "Show a position as text.", ("board",)),
        ("play", "Play", "Play in a terminal against the computer.", ("game", "player", "render")),
    )
    return _design(names, "chess", "Squares, pieces and positions as text (FEN).", steps)


def design_grid(names: Names) -> Design:
    """Three in a row, with a perfect computer player."""
    steps = (
        ("rules", "Rules", "Find out who has won and when it is a draw.", ("board",)),
        ("score", "Scores", "Keep a table of points over many games.", ("board",)),
        ("player", "Computer player", "Play out the possibilities and take the best.", ("rules",)),
        ("play", "Play", "Play in a terminal against the computer.", ("player",)),
    )
    return _design(names, "grid", "A grid on which two sides place stones.", steps)


def _design(names: Names, folder: str, board: str, steps: tuple[tuple[str, str, str, tuple[str, ...]], ...]) -> Design:
    files = (*setup_files(names), *module_files(names, folder, ("board",)))
    parts = [Part("board", "Board", f"Set up the package and its tests. {board}", files)]
    parts += [
        Part(name, title, goal, module_files(names, folder, (name,)), needs) for name, title, goal, needs in steps
    ]
    return Design(tuple(parts), f"```sh\nPYTHONPATH=src python3 -m {names.package}.play\n```")
