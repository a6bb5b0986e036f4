"""Fails where a file holds what looks like a secret: `scan_secrets.py [--accept] [FILE…]`, of all that git tracks.

By detect-secrets, which asks nobody whether a secret is one. In tests, which make up their secrets, only those that
have a form of their own are looked for: keys of clouds, private keys, tokens. What is no secret for all its looks is
in .secrets.baseline by its hash; `--accept` writes it anew. Plugins and filters are those named there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / ".secrets.baseline"
# Made by programs of this repository, or full of hashes.
LEFT_OUT = ("openapi.json", "asyncapi.json", "uv.lock", BASELINE.name)
GUESSED = {"Base64 High Entropy String", "Basic Auth Credentials", "Hex High Entropy String", "Secret Keyword"}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)  # noqa: S607
    return [name for name in listed.stdout.decode().split("\0") if name and not name.endswith(LEFT_OUT)]


def is_made_up(name: str, secret: PotentialSecret) -> bool:
    return "tests" in Path(name).parts and secret.type in GUESSED


def main() -> None:
    arguments = [each for each in sys.argv[1:] if each != "--accept"]
    known = baseline.load(baseline.load_from_file(str(BASELINE)), BASELINE.name)
    if not arguments:
        os.chdir(ROOT)
    scanned = SecretsCollection()
    scanned.scan_files(*(arguments or tracked()), num_processors=os.cpu_count())
    found = SecretsCollection()
    for name, secret in scanned:
        if not is_made_up(name, secret):
            found[name].add(secret)
    if "--accept" in sys.argv:
        content = baseline.format_for_output(found)
        del content["generated_at"]
        BASELINE.write_text(json.dumps(content, indent=2) + "\n")
        return
    accepted = {(name, secret.secret_hash) for name, secret in known}
    new = [(name, secret) for name, secret in found if (name, secret.secret_hash) not in accepted]
    for name, secret in sorted(new, key=lambda each: (each[0], each[1].line_number)):
        sys.stderr.write(f"{name}:{secret.line_number}: {secret.type}\n")
    if new:
        sys.exit("these look like secrets: take them out and revoke them; what is none is told by --accept")


if __name__ == "__main__":
    main()
