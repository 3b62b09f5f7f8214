"""How an answer is made and stored: tasks, their rows, turns in a session, streams."""
