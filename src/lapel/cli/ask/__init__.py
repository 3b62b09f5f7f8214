"""`lapel ask`: questions about recordings, in the terminal."""
