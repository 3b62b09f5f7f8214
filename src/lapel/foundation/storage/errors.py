"""What can go wrong between us and an object store, as far as callers need to tell it apart."""


class StoreUnavailable(Exception):
    """The store, or its credentials, cannot be used right now; the same call may succeed later."""


class ObjectMissing(Exception):
    """No object has this key. The key is the only argument."""
