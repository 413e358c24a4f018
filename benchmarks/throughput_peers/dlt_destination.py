"""dlt with a custom destination that posts each row; as many load jobs at once as asked for."""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

address, path, in_flight = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "LOAD__WORKERS": str(in_flight),
}

import dlt  # noqa: E402 - reads its settings from the environment
import requests  # noqa: E402

created: list[tuple[str, int]] = []
session = requests.Session()
session.headers["Authorization"] = "Bearer benchmark"
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=in_flight))


@dlt.destination(batch_size=1, loader_parallelism_strategy="parallel", naming_convention="direct", name="leads_api")
def post(rows: list[dict[str, Any]], table: object) -> None:
    for row in rows:
        variables = {name: value for name, value in row.items() if not name.startswith("_dlt")}
        phone = variables.pop("phone_number")
        body = {"phone_number": phone, "campaign_id": 7, "variables": variables, "allow_dupplicate": False}
        answer = session.post(f"{address}/user/lead", json=body, timeout=60)
        answer.raise_for_status()
        created.append((phone, answer.json()["data"]["id"]))


def rows() -> Iterator[dict[str, str]]:
    with open(path, newline="") as file:  # noqa: PTH123 - as such scripts go
        yield from csv.DictReader(file)


with tempfile.TemporaryDirectory() as folder:
    os.environ["DLT_DATA_DIR"] = folder
    pipeline = dlt.pipeline("benchmark", destination=post, pipelines_dir=folder)
    # Each file is a load job, and jobs are what dlt works on at once: so the rows are cut into that many files.
    os.environ["NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS"] = str(max(1, sum(1 for _ in rows()) // in_flight))
    pipeline.extract(rows(), table_name="leads")
    pipeline.normalize()
    began = time.monotonic()
    pipeline.load()
    seconds = time.monotonic() - began
print(json.dumps({"created": len(created), "seconds": seconds}))
