"""User, password and token of a PACS, from the environment or netrc."""

from __future__ import annotations

import pytest

from nnstudent.errors import InputError
from nnstudent.web.pacs.credentials import authorization


def test_who_we_are_comes_from_the_environment_or_netrc(tmp_path):
    (path := tmp_path / "netrc").write_text("machine pacs.example login clerk password se:cret\n")
    path.chmod(0o600)
    netrc = {"NETRC": str(path)}
    assert (
        authorization("https://pacs.example:8/x", environment=netrc) == "Basic Y2xlcms6c2U6Y3JldA=="
    )
    assert authorization("https://other.example/x", environment=netrc) is None
    user = {**netrc, "NNSTUDENT_PACS_USER": "a", "NNSTUDENT_PACS_PASSWORD": "b"}
    assert authorization("https://pacs.example/x", environment=user) == "Basic YTpi"
    assert (
        authorization("https://pacs.example/x", environment={**user, "NNSTUDENT_PACS_TOKEN": "t"})
        == "Bearer t"
    )
    with pytest.raises(InputError, match="expected both"):
        authorization("https://pacs.example/x", environment={"NNSTUDENT_PACS_USER": "a"})
    path.write_text("machine secret nonsense")
    with pytest.raises(InputError, match="cannot be read as netrc") as error:
        authorization("https://pacs.example/x", environment=netrc)
    assert "secret" not in str(error.value)
