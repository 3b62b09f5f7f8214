"""The input of a request: headers, query, JSON, forms."""
