"""What a start would compile otherwise: `python -m plumbline_analysis.prepare`, when an image is built."""

from plumbline_analysis import kinds
from plumbline_analysis.logs.mining import Miner

if __name__ == "__main__":
    kinds.prepare()
    Miner().add(["took 3 ms for 10.0.0.1", "took 4 ms for 10.0.0.2", "took 5 ms at once"])
