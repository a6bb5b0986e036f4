"""drain3 as it comes, in an environment of its own: `logs_peer.py REPEATED` mines what standard input holds.

Reads `{system: [line, …]}` as JSON. Mines all of it so many times, each system by a new miner each time. Writes
`{"ids": {system: [cluster's id of each line, …]}, "seconds": of the CPU, the quickest of these times}`.
"""

import json
import logging
import sys
import time

from drain3 import TemplateMiner


def main() -> None:
    logging.disable(logging.CRITICAL)
    systems = json.load(sys.stdin)
    found = {}
    took = []
    for _ in range(int(sys.argv[1])):
        began = time.process_time()
        for system, lines in systems.items():
            miner = TemplateMiner()
            found[system] = [miner.add_log_message(line)["cluster_id"] for line in lines]
        took.append(time.process_time() - began)
    json.dump({"ids": found, "seconds": min(took)}, sys.stdout)


if __name__ == "__main__":
    main()
