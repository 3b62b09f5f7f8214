"""What a request brings: headers, query, JSON, forms."""
