"""A folder to the Hugging Face hub: one repository, one commit, and a clear sentence for whatever the hub says instead.

Not here: what is uploaded, or what its card says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from spr._version import __version__
from spr.errors import RecipeError, SprError
from spr.running.progress import say


class HubError(SprError):
    """The hub cannot be reached, or refuses what is asked of it."""


_REFUSED = {
    401: "the token is not accepted; log in again with `hf auth login`, or set HF_TOKEN to a token that may write",
    402: "it wants to be paid first; see the account's billing page",
    403: "the token may not write there; name a repository of your own, or use a token with write access to it",
    404: "there is no such repository, or the token may not see it; check the name and the token's rights",
    409: "somebody else changed the repository meanwhile; give the same command again",
    413: "it is too large for the account; free some of its storage",
    429: "it was asked too often; wait some minutes and give the same command again",
}
_NOTHING = "nothing was published"


def check_ready(repository: str) -> None:
    """Refuse what would fail, before anything is sent. Raises RecipeError for a name that is not owner/name, HubError without a
    token or offline."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise _misnamed(repository)
    if constants.is_offline_mode():
        raise HubError(f"the hub is switched off here by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE, so {_NOTHING}; unset it")
    if get_token() is None:
        raise HubError(f"there is no token for the hub, so {_NOTHING}; log in with `hf auth login`, or set HF_TOKEN")


def upload(folder: Path, repository: str, texts: Mapping[str, bytes], private: bool = False) -> str:
    """Commit every visible file of `folder` to `repository`, which is made where it is missing; returns its address.

    `texts` are files by their path that go in place of the folder's own. With `private` an existing public repository is
    refused. Raises HubError; then nothing was committed, though a repository that was made stays, empty.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    sent: dict[str, Path | bytes] = {
        name: path for name, path in paths.items() if not any(part.startswith(".") for part in Path(name).parts)
    }
    sent |= texts
    size = sum(len(file) if isinstance(file, bytes) else file.stat().st_size for file in sent.values())
    api = HfApi(library_name="spr", library_version=__version__)
    with _faults(repository):
        address = str(api.create_repo(repository, private=private or None, exist_ok=True))
        if private and not api.repo_info(repository).private:
            raise HubError(f"{repository} exists and is public, so {_NOTHING}; name another, or leave --private out")
        say(f"push: {len(sent)} files, {size / 1e6:,.1f} MB, to {address}")
        operations = [CommitOperationAdd(name, file) for name, file in sorted(sent.items())]
        api.create_commit(repository, operations, commit_message=f"Upload by spr {__version__}")
    return address


@contextmanager
def _faults(repository: str) -> Iterator[None]:
    """Whatever goes wrong on the way to the hub, as one sentence."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _said(repository, error.response.status_code, error) from error
    except httpx2.HTTPError as error:
        raise HubError(
            f"the hub at {constants.ENDPOINT} cannot be reached ({_short(error)}), so {_NOTHING}; check the connection and "
            "give the same command again"
        ) from error
    except HFValidationError:
        raise _misnamed(repository) from None
    except (RuntimeError, ValueError, OSError) as error:
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _said(repository, error.__cause__.response.status_code, error) from error
        raise HubError(
            f"the upload to {repository} failed ({_short(error)}), so {_NOTHING}; give the same command again"
        ) from error


def _misnamed(repository: str) -> RecipeError:
    return RecipeError(f"REPO_ID {repository} is no name on the hub; write owner/name, e.g. me/llava-spr")


def _said(repository: str, status: int, error: BaseException) -> HubError:
    ill = "it has trouble of its own; give the same command again later"
    reason = ill if status >= 500 else _REFUSED.get(status, f"it says: {_short(error)}")
    return HubError(f"the hub answers {status} for {repository}, so {_NOTHING}: {reason}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
