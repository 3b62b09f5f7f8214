"""A second reader of every answer: written from the HTTP contract, it knows no struct of ours."""
