"""Planning as the backend of a lane: the planner's own, or one whose engines plan elsewhere."""
