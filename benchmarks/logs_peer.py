"""drain3 as it comes, in an environment of its own: `logs_peer.py REPEATED PASSES` mines what standard input holds.

Reads `{system: [line, …]}` as JSON. So many times, mines the lines of each system by a new miner, so many times over.
Writes `{"ids": {system: [cluster's id of each line in the first pass, …]}, "first": s, "all": s}`, with the CPU's
seconds for the first pass and for all of them, the quickest of the repetitions.
"""

import json
import logging
import sys
import time

from drain3 import TemplateMiner


def main() -> None:
    logging.disable(logging.CRITICAL)
    repeated, passes = map(int, sys.argv[1:])
    systems = json.load(sys.stdin)
    ids = {}
    seconds = []
    for _ in range(repeated):
        first = rest = 0.0
        for system, lines in systems.items():
            began = time.process_time()
            miner = TemplateMiner()
            ids[system] = [miner.add_log_message(line)["cluster_id"] for line in lines]
            first += time.process_time() - began
            began = time.process_time()
            for _ in range(passes - 1):
                for line in lines:
                    miner.add_log_message(line)
            rest += time.process_time() - began
        seconds.append((first, first + rest))
    quickest = [min(each) for each in zip(*seconds, strict=True)]
    json.dump({"ids": ids, "first": quickest[0], "all": quickest[1]}, sys.stdout)


if __name__ == "__main__":
    main()
