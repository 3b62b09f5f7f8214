"""Operations, and the one path that every request takes."""
