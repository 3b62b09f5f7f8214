"""The rows of deliveries and attempts: what the API shows of them, and how they end."""
