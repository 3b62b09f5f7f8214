"""How a child of `WorkerProcess` is started: by this process, or by a spawner that keeps rights of root."""
