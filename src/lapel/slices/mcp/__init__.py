"""MCP: tools that call the routes of the API, at `/mcp`."""
