"""``croissant.json``: the benchmark in the vocabulary of ML Commons, with what is said of its use.

Croissant 1.0 (docs.mlcommons.org/croissant/docs/croissant-spec.html) and its RAI extension 1.0.
Everything derives from ``shards.csv``, the counts and what the card is told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segmend.core.sample import SAMPLE_TYPES, SPLITS, SchemaVersion, row_schema
from segmend.core.schema import DType, Field
from segmend.shards.card import CardFacts, Counts
from segmend.shards.layout import ShardRecord
from segmend.store.atomic import atomic_file

CROISSANT = "croissant.json"

_PARQUET = "application/x-parquet"
_SHARDS = "shards"
_ROWS = "rows"
_TYPES: Mapping[DType, str] = {
    "string": "sc:Text",
    "strings": "sc:Text",
    "bool": "sc:Boolean",
    "float64": "sc:Float",
    "bytes": "sc:Text",  # 1.0 has no type for bytes; the description says what they are
    "png": "sc:ImageObject",
}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_croissant(
    folder: Path,
    facts: CardFacts,
    counts: Counts,
    records: Sequence[ShardRecord],
    *,
    version: SchemaVersion,
) -> None:
    """Write ``croissant.json``, whole or not at all."""
    described = croissant(facts, counts, records, version=version)
    with atomic_file(folder / CROISSANT) as path:
        path.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def croissant(
    facts: CardFacts,
    counts: Counts,
    records: Sequence[ShardRecord],
    *,
    version: SchemaVersion,
) -> dict[str, Any]:
    """The benchmark as a JSON-LD object.

    Args:
        facts: What the card is told.
        counts: Rows by (sample type, split).
        records: Its shards, in order.
        version: Version of its schema.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [
            "http://mlcommons.org/croissant/1.0",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "name": facts.pretty_name,
        "description": facts.summary,
        "version": "1.0.0",
        "license": list(dict.fromkeys(s.licence for s in facts.sources)) or [facts.license],
        "citeAs": " ".join(s.citation.replace("\n", " ") for s in facts.sources),
        "url": next((s.url for s in facts.sources if s.url), "https://github.com/segmend/segmend"),
        "keywords": list(facts.tags),
        **_responsible_use(facts, counts),
        "distribution": [*map(_shard, records), _shard_set(records)],
        "recordSet": [_split_set(), _row_set(version)],
    }


def _responsible_use(facts: CardFacts, counts: Counts) -> dict[str, Any]:
    per_type = Counter[str]()
    for (kind, _), n in counts.items():
        per_type[kind] += n
    total = max(sum(per_type.values()), 1)
    shares = ", ".join(f"{kind} {per_type[kind] / total:.1%}" for kind in SAMPLE_TYPES)
    leaks = ", ".join(facts.accepted_leaks) or "none"
    lost = sum(facts.left_out.values())
    return {
        "rai:dataCollection": "Rendered from public electron microscopy volumes and their "
        "segmentations; no person or animal was examined for it.",
        "rai:dataLimitations": f"{sum(per_type.values()):,} rows: {shares}. Leaks between splits "
        f"that were accepted: {leaks}. {lost:,} candidates are not rows; the card says why.",
        "rai:dataBiases": "Edits are where an automatic segmentation and its ground truth or its "
        "proofreaders differ; sites nobody looked at are missing. Controls are derived.",
        "rai:dataUseCases": "Training and judging models that propose or check corrections of "
        "segmentations. Not for clinical use.",
        "rai:dataPreprocessingProtocol": list(facts.provenance),
        "rai:dataAnnotationProtocol": "Labels follow from the sample type of a row, never from a "
        "model.",
        "rai:personalSensitiveInformation": "None.",
    }


def _shard(record: ShardRecord) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": record.path,
        "name": record.path,
        "description": f"{record.n_samples} rows of split {record.split}",
        "contentUrl": record.path,
        "contentSize": f"{record.size_bytes} B",
        "encodingFormat": _PARQUET,
        "sha256": record.sha256,
    }


def _shard_set(records: Sequence[ShardRecord]) -> dict[str, Any]:
    folders = sorted({record.path.partition("/")[0] for record in records})
    return {
        "@type": "cr:FileSet",
        "@id": _SHARDS,
        "name": _SHARDS,
        "description": "All shards.",
        "encodingFormat": _PARQUET,
        "includes": [f"{name}/{name}-*.parquet" for name in folders],
    }


def _split_set() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": "splits/name",
                "name": "splits/name",
                "dataType": "sc:Text",
            }
        ],
        "data": [{"splits/name": split} for split in SPLITS],
    }


def _row_set(version: SchemaVersion) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": _ROWS,
        "name": _ROWS,
        "description": f"One question each, schema {version} of ConnectomeBench2.",
        "key": {"@id": f"{_ROWS}/combined_sample_hash"},
        "field": [_field(field) for field in row_schema(version)],
    }


def _field(column: Field) -> dict[str, Any]:
    source: dict[str, Any] = {
        "fileSet": {"@id": _SHARDS},
        "extract": {"column": column.name},
    }
    if column.dtype == "png":
        source["transform"] = {"jsonPath": "bytes"}
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{_ROWS}/{column.name}",
        "name": f"{_ROWS}/{column.name}",
        "description": column.doc + (" May be null." if column.nullable else ""),
        "dataType": _TYPES[column.dtype],
        "source": source,
    }
    if column.dtype == "strings":
        described["repeated"] = True
    if column.name == "split":
        described["references"] = {"field": {"@id": "splits/name"}}
    return described
