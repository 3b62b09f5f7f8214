"""The deletion of recordings, one by one or of an end user; legal holds, which postpone the erasure."""
