"""The policy's part of the recipe: which model, how it writes boxes, and what generates in its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from spr.recipe_part import Part

REACHED_BY = frozenset({"url", "api_key_env", "concurrency", "timeout", "retries"})
"""Keys of `endpoint` that say how a server is reached, and change nothing that it answers."""


class Endpoint(Part):
    """An OpenAI-compatible server that generates in the model's place: vLLM, SGLang, `transformers serve`."""

    url: str = Field(description="up to /v1, e.g. http://localhost:8000/v1")
    served_name: str | None = Field(None, description="the model's name on the server; default model.name")
    tuned_name: str | None = Field(None, description="the tuned policy's name on the server, for its evaluation")
    api_key_env: str | None = Field(None, description="the environment variable that holds the key")
    samples: Literal["ask", "n"] = Field("ask", description="K answers by asking K times, or by the server's `n`")
    concurrency: int = Field(8, ge=1, description="requests under way at a time")
    timeout: float = Field(120.0, gt=0, le=86400, description="seconds one request may take")
    retries: int = Field(5, ge=0, description="tries after the first, each after a longer wait")

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
            raise ValueError("it must be an http or https address, e.g. http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("it must hold no key or password; name the environment variable with api_key_env")
        try:
            parts.port  # noqa: B018
        except ValueError:
            raise ValueError("its port must be a number from 0 to 65535, e.g. http://localhost:8000/v1") from None
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("it must be the name of an environment variable; put the key into that, and only its name here")
        return name


class Model(Part):
    """The policy: any AutoModelForImageTextToText with a dialect."""

    name: str = Field(description="a directory, or a model's name on the hub")
    dialect: str
    dialect_options: dict[str, Any] = Field({}, description="arguments of the dialect, e.g. its frame")
    revision: str | None = None
    trust_remote_code: bool = False
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    attention: Literal["sdpa", "eager"] = "sdpa"
    quantization: Literal["none", "4bit"] = Field("none", description="4bit: NF4 weights by bitsandbytes")
    processor: dict[str, Any] = Field({}, description="arguments of AutoProcessor.from_pretrained, e.g. pixel limits")

    endpoint: Endpoint | None = Field(None, description="a server that generates in the model's place")

    @model_validator(mode="after")
    def _remote_code_is_pinned(self) -> Model:
        pinned = re.fullmatch("[0-9a-f]{40}", self.revision or "") or Path(self.name).expanduser().is_dir()
        if self.trust_remote_code and not pinned:
            raise ValueError("trust_remote_code needs a pinned `revision`: the commit (40 digits) whose code you have read")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Model:
        if self.endpoint is not None and self.endpoint.tuned_name == (self.endpoint.served_name or self.name):
            raise ValueError(
                f"endpoint.tuned_name is {self.endpoint.tuned_name}, which names the base model; name the tuned one"
            )
        return self
