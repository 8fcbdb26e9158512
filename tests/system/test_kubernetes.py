"""The files for Kubernetes, read by a validator: no cluster is at hand, so they are not run here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from snakemake.cli import get_argument_parser
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from nnstudent.cli.main import build_parser
from tests.conftest import ROOT

FOLDER = ROOT / "docker" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
VERSION = "1.31"


def documents() -> list[tuple[Path, dict[str, Any]]]:
    return [(file, item) for file in FILES for item in yaml.safe_load_all(file.read_text())]


@pytest.mark.parametrize(
    ("file", "item"), documents(), ids=lambda value: getattr(value, "stem", "")
)
def test_kubernetes_schemas_accept_every_manifest(file: Path, item: dict[str, Any]) -> None:
    kubernetes_validate.validate(item, VERSION, strict=True)


def test_the_validator_refuses_a_wrong_manifest() -> None:
    _, job = next(pair for pair in documents() if pair[1]["kind"] == "Job")
    job["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSION, strict=True)


def test_the_manifests_and_the_profile_name_the_same_things() -> None:
    kinds = {item["kind"]: item for _, item in documents()}
    profile = yaml.safe_load((FOLDER / "profile" / "config.yaml").read_text())
    pod = kinds["Job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    claim = kinds["PersistentVolumeClaim"]["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == claim
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert profile["kubernetes-persistent-volumes"] == f"{claim}:{mounted['data']}"
    assert profile["container-image"] == container["image"]
    account = kinds["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == profile["kubernetes-service-account-name"] == account
    assert kinds["RoleBinding"]["subjects"][0]["name"] == account
    args = build_parser().parse_args(container["args"])
    assert (args.verb, args.executor, args.jobs) == ("run", "kubernetes", 8)
    assert args.out.is_relative_to(mounted["data"])
    assert str(args.profile) == mounted["profile"]


def test_snakemake_knows_every_option_of_the_profile() -> None:
    profile = yaml.safe_load((FOLDER / "profile" / "config.yaml").read_text())
    ExecutorPluginRegistry()
    known = set(re.findall(r"--([a-z-]+)", get_argument_parser().format_help()))
    assert set(profile) <= known, set(profile) - known
