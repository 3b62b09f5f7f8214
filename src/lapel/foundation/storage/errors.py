"""The errors of an object store that callers need to distinguish."""


class StoreUnavailable(Exception):
    """The store, or its credentials, cannot be used right now; the same call may succeed later."""


class ObjectMissing(Exception):
    """No object has this name. The name is the only argument."""
