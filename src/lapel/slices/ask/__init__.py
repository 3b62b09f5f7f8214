"""Questions about recordings: sessions, messages, and answers that cite the second they rest on."""
