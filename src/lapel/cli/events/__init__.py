"""Commands about events: forwarding, showing and causing them."""
