"""What a start would make otherwise: `python -m plumbline_search.prepare FOLDER`, when an image is built."""

import sys
from pathlib import Path

from plumbline_search.embedding import model_store
from plumbline_search.passages import scoring as passages
from plumbline_search.postings import scoring as postings

if __name__ == "__main__":
    model_store.ensure(Path(sys.argv[1]))
    passages.compile_all(model_store.DIMENSIONS)
    postings.compile_all()
