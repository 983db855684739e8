"""The catalogue: which models exist, as both APIs tell it.

Standard library only. Invariant: nothing is known about a model but its name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PAGE = 20


def model_info(model: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model,
        "display_name": model.replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def model_page(models: Sequence[str], query: Mapping[str, str]) -> dict[str, Any]:
    """One page, by ``limit`` and ``after_id``."""
    start = models.index(query["after_id"]) + 1 if query.get("after_id") in models else 0
    limit = int(query["limit"]) if query.get("limit", "").isdigit() else PAGE
    page = models[start : start + limit]
    return {
        "data": [model_info(model) for model in page],
        "has_more": start + limit < len(models),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def profile_summaries(models: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "inferenceProfileId": model,
            "inferenceProfileArn": f"arn:aws:bedrock:eu-central-1:000000000000:inference-profile/{model}",
            "inferenceProfileName": model,
            "status": "ACTIVE",
            "type": "SYSTEM_DEFINED",
            "models": [],
        }
        for model in models
    ]
