"""The errors of an object store that callers need to distinguish."""


class StoreUnavailable(Exception):
    """The store, or its credentials, cannot be used right now; the same call may succeed later."""


class ObjectCut(StoreUnavailable):
    """The store has less of an object than was asked for: the object is shorter than it was."""


class ObjectMissing(Exception):
    """No object has this name. The name is the only argument."""
