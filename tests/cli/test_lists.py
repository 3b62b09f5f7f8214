"""What the operator lists without a key is what the API lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.serving import run, serving, told


def test_the_operator_lists_audit_log_ledger_and_holds(installation: Installation, tmp_path: Path) -> None:
    data = tmp_path / "data"
    auth = {"authorization": f"Bearer {installation.copy(data)}"}
    with serving(data) as server:

        def get(path: str) -> list[dict[str, Any]]:
            return http.get(f"{server.url}/v1/{path}", headers=auth).json()["data"]

        def listed(*command: str) -> list[dict[str, Any]]:
            return told(*command, "--mode", "test", "--data-dir", data)["data"]

        people = []
        for _ in range(101):  # more than a page of the API
            answer = http.post(f"{server.url}/v1/end-users", json={"name": "Jane"}, headers=auth)
            people.append(answer.json()["id"])
        for each in people[:2]:
            hold = f"{server.url}/v1/end-users/{each}/hold"
            assert http.post(hold, json={"reason": "a case"}, headers=auth).status_code == 201
        assert http.delete(f"{server.url}/v1/end-users/{people[1]}/hold", headers=auth).status_code == 204
        assert len(listed("audit", "list", "--limit", "1000")) > 101
        for each in (people[0], people[2]):
            assert http.delete(f"{server.url}/v1/end-users/{each}", headers=auth).status_code == 204

        assert listed("holds", "list") == get("holds")
        assert [each["resource_id"] for each in listed("holds", "list", "--active")] == [people[0]]
        assert [each["resource_id"] for each in listed("holds", "list", "--resource", people[1])] == [
            people[1]
        ]
        assert [each["resource_id"] for each in listed("erasures", "list")] == [people[2], people[0]]
        assert [each["resource_id"] for each in listed("erasures", "list", "--state", "held")] == [people[0]]
        assert len(listed("erasures", "list", "--limit", "1")) == 1
        actions = [each["action"] for each in listed("audit", "list", "--resource", people[0])]
        assert actions == [each["action"] for each in get(f"audit-log?resource_id={people[0]}")]
        assert len(actions) >= 3
        key = listed("audit", "list", "--limit", "1")[0]["actor"]["id"]
        assert {each["actor"]["id"] for each in listed("audit", "list", "--actor", key)} == {key}
    shown = run("holds", "list", "--mode", "test", "--data-dir", data)  # with the server stopped, for people
    assert shown.returncode == 0, shown.stderr
    assert people[0] in shown.stdout
    assert "a case" in shown.stdout
    assert run("audit", "list", "--data-dir", data).returncode == 0
    refused = run("audit", "list", "--action", "nix", "--data-dir", data)
    assert (refused.returncode, "two words with a dot" in refused.stderr) == (2, True), refused

    told("projects", "create", "Another", "--data-dir", data)
    for flags, status, said in (
        ((), 1, "there are several projects"),
        (("--project", "proj_x"), 1, "there is no such project"),
        (("--limit", "0"), 2, "--limit"),
        (("--limit", "1001"), 2, "--limit"),
    ):
        done = run("erasures", "list", *flags, "--data-dir", data)
        assert done.returncode == status
        assert said in done.stderr + done.stdout
