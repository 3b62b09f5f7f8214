"""A second reader of every answer, written from the HTTP contract alone: it uses none of our structs."""
