"""The corpus of stored values, which all tests share: see corpus/README.md."""

import base64
import json
import zlib
from pathlib import Path

from task_status_service.status import Snapshot

CORPUS = Path(__file__).parents[1] / "corpus" / "stored_values.jsonl"
ROWS = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
ROWS_BY_ID = {row["id"]: row for row in ROWS}


def stored_bytes(row):
    """Return the stored bytes of a row; None if its key holds no string."""
    if "raw_zlib_b64" in row:
        return zlib.decompress(base64.b64decode(row["raw_zlib_b64"]))
    return base64.b64decode(row["raw_b64"]) if "raw_b64" in row else None


def snapshot_of(row):
    """Return the snapshot of a store that holds only this row."""
    return Snapshot(
        task_id=row["task_id"],
        meta=stored_bytes(row),
        wrong_type=row["redis_type"] not in {"string", "none"},
    )
