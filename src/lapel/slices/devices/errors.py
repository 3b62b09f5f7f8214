"""The errors of devices that clients see."""

from __future__ import annotations

from lapel.foundation.core.errors import ApiError


class DeviceAlreadyBound(ApiError):
    """The device is bound to an end user; unbind it first."""

    status, code = 409, "device_already_bound"
