"""`python -m checks` with deploy/k8s on the path: every check of every overlay. Ends with 1 on a finding."""

import subprocess
import sys

from checks import gateway, network, policy, references, rules, schemas, settings
from checks.manifests import OVERLAYS, KubectlMissing, Manifests, kubectl

CHECKS = tuple(
    check for module in (schemas, policy, references, settings, network, gateway, rules) for check in module.CHECKS
)


def main() -> int:
    found = 0
    for overlay in OVERLAYS:
        try:
            manifests = Manifests.of(overlay)
        except KubectlMissing as missing:
            sys.exit(str(missing))
        except subprocess.CalledProcessError as refused:
            sys.exit(f"{overlay}: kustomize: {refused.stderr.decode().strip()}")
        for check in CHECKS:
            for finding in check(manifests):
                found += 1
                print(f"{overlay}: {finding}")
        print(f"{overlay}: {len(manifests.resources)} resources, {len(CHECKS)} checks")
    if rules.promtool() is None:
        print("promtool is not on PATH (Debian's package `prometheus`): the alerts were not parsed")
    print(f"rendered by {kubectl()}; Kubernetes {' and '.join(schemas.VERSIONS)}; {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
