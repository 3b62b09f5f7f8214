"""Operations, and the path that every request takes."""
