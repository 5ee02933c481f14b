"""The committed JSON Schemas of the contract: write them, or say that they have drifted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def schema_text(schema: Mapping[str, Any], *, title: str) -> str:
    """Render a schema as it is committed: sorted keys, so that a diff shows meaning only."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def schema_main(schema: Mapping[str, Any], *, title: str) -> int:
    """Run `--check PATH` or `--write PATH` for one schema; 1 tells a difference."""
    parser = argparse.ArgumentParser(description=f"The JSON Schema of {title}.")
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--check", type=Path, metavar="PATH", help="fail when PATH differs")
    verb.add_argument("--write", type=Path, metavar="PATH", help="write it to PATH")
    args = parser.parse_args()
    text = schema_text(schema, title=title)
    if args.write:
        args.write.write_text(text, "utf-8")
        return 0
    if args.check.is_file() and args.check.read_text("utf-8") == text:
        return 0
    sys.stderr.write(f"{args.check}: differs from the types of {title}; run again with --write\n")
    return 1
