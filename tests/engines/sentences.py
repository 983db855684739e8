"""The requirements that the simulated engine is tested with, and the band of task numbers that each belongs to."""

SIMPLE, MODERATE, COMPLEX, VERY_COMPLEX = (1, 3), (4, 8), (9, 15), (16, 24)

SEED = {
    "Create a calculator function": SIMPLE,
    "Build todo list with backend and frontend": MODERATE,
    "Build microservices platform": VERY_COMPLEX,
    "Build a chess game": MODERATE,
    "Build a todo list app": MODERATE,
    "Build a contact form": MODERATE,
    "Build ML pipeline": VERY_COMPLEX,
    "Process large dataset": VERY_COMPLEX,
    "Train ML models": COMPLEX,
    "Build platform": VERY_COMPLEX,
    "Train deep learning models": VERY_COMPLEX,
    "Build REST API with authentication": MODERATE,
    "Build a todo app": MODERATE,
    "Run hyperparameter sweep for ML model": VERY_COMPLEX,
    "Train ensemble models on ImageNet": VERY_COMPLEX,
    "ETL pipeline: extract, transform, load": VERY_COMPLEX,
    "contact form with validation": MODERATE,
    "todo list with local storage": MODERATE,
}
OTHERS = {
    "Build e-commerce": COMPLEX,
    "Build a CMS": COMPLEX,
    "Build a dashboard with charts, login and export": COMPLEX,
    "A mobile app for workouts and habits": COMPLEX,
    "Create a tic tac toe game": MODERATE,
    "Build a blog": MODERATE,
    "Build an app to track books and members": MODERATE,
    "A tiny utility": SIMPLE,
    "Build a large, scalable todo list with auth, search, payments, chat, reports and admin": (9, 24),
    "A chess game with chat, login, payments, search, admin, reports, upload, email and mobile": (9, 24),
}
ODD = {
    "": SIMPLE,
    "   \n\t ": SIMPLE,
    "!?.,;": SIMPLE,
    "it": SIMPLE,
    "🚀✨": SIMPLE,
    "class import lambda": SIMPLE,
    "def return None True self form page store": MODERATE,
    "型付きの小さな計算ツール": SIMPLE,
    "Приложение для заметок": SIMPLE,
    "Büroverwaltung für Möbelhäuser": SIMPLE,
    '"; rm -rf / #': SIMPLE,
    '""" + __import__("os").system("x") + """': MODERATE,
    "''' \\ \\n \\u0000 \\": SIMPLE,
    "{} {0} {x!r} %s $mark ${package} $$": SIMPLE,
    "</h1><script>alert(1)</script> contact form": MODERATE,
    "lone surrogate \ud800 and nul \x00 and bell \x07": SIMPLE,
    "Build a platform app": VERY_COMPLEX,
    "Build a registration form for classes with field, text and form": MODERATE,
}
LONG = {
    "Build a shop where " + "customers order products, " * 2500: (9, 24),
    " ".join(f"w{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}" for n in range(12_000)): (1, 24),
    "x" * 60_000: (1, 24),
}
ALIKE = ("Build a todo list app", "Build a todo app", "Build a contact form", "Build platform", "Build ML pipeline")
"""Sentences whose tasks other sentences have too."""
FAST = (
    "Create a calculator function",
    "Build todo list with backend and frontend",
    "Build a chess game",
    '"; rm -rf / #',
)
ALL = {**SEED, **OTHERS, **ODD, **LONG}
