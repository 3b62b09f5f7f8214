"""One package for each part of the API; app.py is the list of them."""
