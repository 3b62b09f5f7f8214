"""End users come and go."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.stateful.answers import Answer
from tests.stateful.caller import answered
from tests.stateful.walk import Walk, names, picks

external_ids = st.sampled_from([None, "one", "two"])


class EndUserRules(Walk):
    """Adding and deleting them."""

    @rule(external_id=external_ids, name=names)
    def create_end_user(self, external_id: str | None, name: str | None) -> None:
        body = {"external_id": external_id, "name": name}
        key = self.fresh()
        answer = self.call("POST", "/end-users", self.token, body, key=key)
        holder = self.world.holder(external_id)
        if holder is not None:
            assert answered(answer) == Answer(409, "resource_already_exists")
            assert answer.json()["error"]["resource_id"] == holder
            return
        assert answer.status_code == 201, answer.text
        self.world.end_users[answer.json()["id"]] = body
        self.stored.append(("/end-users", body, key, answer.json()["id"]))

    @precondition(lambda self: len(self.world.end_users) > 2)
    @rule(number=picks)
    def delete_end_user(self, number: int) -> None:
        end_user_id = self.pick(self.world.end_users, number)
        answer = self.call("DELETE", f"/end-users/{end_user_id}", self.token)
        assert answer.status_code == 204, answer.text
        self.world.delete_end_user(end_user_id)
        assert self.call("GET", f"/end-users/{end_user_id}", self.token).status_code == 404
