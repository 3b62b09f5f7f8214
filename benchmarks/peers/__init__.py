"""Other ways to answer `download-url`, written to compare with."""
