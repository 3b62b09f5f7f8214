"""`lapel transcribe`: files on this machine, without a server."""
