"""The schema of the database: its newest revision, and the script that makes it anew."""
