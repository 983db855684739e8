"""The one dispatcher loop, the same for every backend; planner and consolidator run on it too."""
