"""The query process, which the API processes of a machine share, and its client."""
