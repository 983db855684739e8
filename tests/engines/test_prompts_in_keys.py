"""What agents are asked with is part of what their results depend on."""

from pto_core.keys import PROMPTS
from pto_engines.prompts import CODER, EXECUTOR, digest_of_prompts


def test_keys_name_the_texts_of_this_version() -> None:
    now = {"api": digest_of_prompts(EXECUTOR), "claude-code": digest_of_prompts(CODER)}
    assert dict(PROMPTS) == now, "the texts have changed: put these digests into pto_core/keys.py"
