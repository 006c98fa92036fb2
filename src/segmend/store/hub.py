"""Who asks the Hugging Face hub: the token that its own client knows, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from segmend.store.origin import Login, Origin

PUBLIC = "https://huggingface.co"


def is_hub(origin: Origin, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether an origin lies on the hub that ``HF_ENDPOINT`` names, else huggingface.co."""
    hub, here = urlsplit(environ.get("HF_ENDPOINT") or PUBLIC), urlsplit(origin.base)
    return (here.scheme, here.netloc) == (hub.scheme, hub.netloc)


def hub_login() -> Login:
    """The token in the standard places of huggingface_hub; nobody's where there is none.

    These are ``HF_TOKEN`` and the file that ``hf auth login`` writes. As its client does, none is
    sent where ``HF_HUB_DISABLE_IMPLICIT_TOKEN`` is set.
    """
    if find_spec("huggingface_hub") is None:
        return Login()
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return Login((f"Authorization: Bearer {token}",)) if token else Login()
