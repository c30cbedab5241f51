"""What S3 and boto3 say when something is wrong, as half a sentence that tells a person what to do."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, NamedTuple

DENIED, NO_BUCKET, WRONG, FULL = errno.EACCES, errno.ENXIO, errno.EINVAL, errno.ENOSPC
"""The numbers of errors that trying again does not cure."""

NOT_S3 = "what answers there does not speak S3: correct endpoint_url"
"""Trying again may help: an answer that broke off is not S3 either."""

_CREDENTIALS = "check the access key and its secret, or name another profile with ?profile="
_EXPIRED = "the credentials have expired: log in again, as with `aws sso login`"
_KINDS = {
    "AccessDenied": DENIED,
    "Forbidden": DENIED,
    "403": DENIED,
    "AllAccessDisabled": DENIED,
    "AccountProblem": DENIED,
    "InvalidAccessKeyId": DENIED,
    "SignatureDoesNotMatch": DENIED,
    "AuthFailure": DENIED,
    "InvalidSecurity": DENIED,
    "ExpiredToken": DENIED,
    "ExpiredTokenException": DENIED,
    "TokenRefreshRequired": DENIED,
    "InvalidToken": DENIED,
    "RequestTimeTooSkewed": DENIED,
    "NoSuchBucket": NO_BUCKET,
    "NotImplemented": errno.ENOTSUP,
    "QuotaExceeded": FULL,
    "InsufficientStorage": FULL,
    "XMinioStorageFull": FULL,
}
_REASONS = {
    "InvalidAccessKeyId": f"the server does not know these credentials: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the server does not accept these credentials: {_CREDENTIALS}",
    "AuthFailure": f"the server does not accept these credentials: {_CREDENTIALS}",
    "InvalidSecurity": f"the server does not accept these credentials: {_CREDENTIALS}",
    "InvalidToken": f"the server does not accept these credentials: {_CREDENTIALS}",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    "QuotaExceeded": "the quota is used up: free some space",
    "InsufficientStorage": "the storage is full: free some space",
    "XMinioStorageFull": "the storage is full: free some space",
    "NotImplemented": "the server does not know what it was asked for: choose another store",
    "InvalidRange": "there is nothing in that range",
    "ConditionalRequestConflict": "others write it all the time",
}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_BUSY = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "503", "429"}
_PASSING = {  # answers of "you did it wrong" that tell of a bad connection
    "RequestTimeout",
    "BadDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "InvalidDigest",
    "ConditionalRequestConflict",
    "OperationAborted",
}


class Understood(NamedTuple):
    """An error: S3's code for it if there is one, the reason in words, and a number if trying again is useless."""

    code: str
    reason: str
    number: int | None


def understand(error: Exception, bucket: str) -> Understood | None:
    """Say what an error of boto3's means; None if it is none of theirs."""
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    if isinstance(error, boto.ClientError):
        return _refusal(error.response, bucket)
    # boto3 follows what it takes for the way to a bucket's region, until the stack is full.
    if isinstance(error, (ResponseParserError, RecursionError)):
        return Understood("", NOT_S3, None)
    if isinstance(error, HTTPError):
        return Understood("", f"the connection failed ({_short(error)})", None)
    if isinstance(error, (boto.BotoCoreError, ValueError)):
        return Understood("", *_of_this_side(error, bucket))
    return None


def explain_code(code: str, status: int, bucket: str) -> tuple[str, int | None]:
    """Say what one of S3's codes means, and give its number if trying again is useless."""
    if code in _REASONS:
        reason = _REASONS[code]
    elif code == "NoSuchBucket":
        reason = f"there is no bucket {bucket!r}: create it or correct the store's URL"
    elif _KINDS.get(code) == DENIED:
        reason = (
            "access was denied: the credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and "
            "s3:DeleteObject on what is in it"
        )
    elif code in _BUSY:
        reason = f"the server is overloaded ({code})"
    elif (code.isdigit() and code.startswith("4")) or not code:
        return NOT_S3, None
    elif status >= 500 or not status:
        reason = f"the server failed ({code})"
    else:
        reason = f"the server refused ({code})"
    passing = code in _BUSY or code in _PASSING or (status >= 500 and code != "NotImplemented") or not status
    return reason, _KINDS.get(code, None if passing else WRONG)


def _refusal(response: Mapping[str, Any], bucket: str) -> Understood:
    said, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = str(said.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    if status == 412:
        code = "PreconditionFailed"
    elif status == 416:
        code = "InvalidRange"
    if code in _ELSEWHERE:
        region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region") or said.get("Region")
        where = f"in the region {region}: add ?region={region}" if region else "elsewhere: add its ?region="
        return Understood(code, f"the bucket is {where} to the store's URL", WRONG)
    reason, number = explain_code(code, status, bucket)
    if number == WRONG and said.get("Message"):
        reason = f"{reason[:-1]}: {str(said['Message']).rstrip('.')})" if reason.endswith(")") else reason
    return Understood(code, reason, number)


def _of_this_side(error: Exception, bucket: str) -> tuple[str, int | None]:
    """Say what went wrong before a server answered."""
    from botocore import exceptions as boto

    where = "/".join((getattr(error, "kwargs", {}).get("endpoint_url") or "the server").split("/")[:3])
    if isinstance(error, boto.ProfileNotFound):
        return f"{_short(error)}: `aws configure list-profiles` shows those there are", DENIED
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        how = "run `aws configure`, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add ?profile= to the URL"
        return f"no credentials were found: {how}", DENIED
    if isinstance(error, (boto.TokenRetrievalError, boto.SSOError, boto.UnauthorizedSSOTokenError)):
        return _EXPIRED, DENIED
    if isinstance(error, (boto.CredentialRetrievalError, boto.MetadataRetrievalError)):
        return f"the credentials could not be fetched ({_short(error)})", None
    if isinstance(error, boto.SSLError):
        return f"no secure connection to {where} ({_short(error)}): check endpoint_url", None
    if isinstance(error, boto.ReadTimeoutError):
        return f"{where} did not answer in time", None
    if isinstance(error, (boto.IncompleteReadError, boto.ResponseStreamingError, boto.ConnectionClosedError)):
        return "the server hung up in the middle", None
    if isinstance(error, (boto.ConnectionError, boto.HTTPClientError)):
        return f"{where} cannot be reached: check the network and the address", None
    if isinstance(error, boto.ParamValidationError) and "bucket" in str(error).lower():
        return f"{bucket!r} cannot be the name of a bucket: correct the store's URL", WRONG
    return _short(error), WRONG


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 200 else f"{text[:200]}…"
