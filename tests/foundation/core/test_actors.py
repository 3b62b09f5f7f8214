"""Whose idempotency keys a caller uses."""

from __future__ import annotations

from msgspec.structs import replace

from lapel.foundation.core.actors import Actor

DEVICE = Actor(kind="device", id="dev_a", world_id=1, project_id="prj_a", mode="test", binding_generation=1)


def test_a_device_has_its_own_keys_in_each_binding() -> None:
    again = replace(DEVICE, binding_generation=2)
    assert (DEVICE.principal, again.principal) == ("device:dev_a:1", "device:dev_a:2")


def test_other_callers_have_their_own_keys_or_share_those_of_their_space() -> None:
    key = Actor(kind="key", id="key_a", world_id=1, project_id="prj_a", mode="test")
    assert key.principal == "key:key_a"
    assert replace(key, space="keys").principal == "keys"
