"""The connections of the HTTP listener: limits, writes that are joined, and bodies that bypass the parser."""
