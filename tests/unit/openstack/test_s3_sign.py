"""Signatures: the same as Amazon's own library makes."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.s3 import S3Proof, told_apart
from nornir_stack.tasks.openstack.s3_sign import signed

WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789-_.~", min_size=1, max_size=12)


@given(secret=WORDS, path=st.lists(WORDS, max_size=3), method=st.sampled_from(["GET", "HEAD"]))
def test_amazons_library_signs_the_same(secret: str, path: list[str], method: str) -> None:
    """For any secret and path of an object."""
    url = "http://10.0.0.6:8080/" + "/".join(path)
    now = datetime.now(timezone.utc)
    request = AWSRequest(method, url, headers={"X-Amz-Content-SHA256": ""})
    del request.headers["X-Amz-Content-SHA256"]
    request.context["payload_signing_enabled"] = True
    signer = S3SigV4Auth(Credentials("access", secret), "s3", "us-east-1")
    signer.add_auth(request)
    stamp = request.headers["X-Amz-Date"]
    now = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    ours = signed(method, url, access="access", secret=secret, region="us-east-1", now=now)
    assert ours["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        (S3Proof("http://x", 200, "", 403, "SignatureDoesNotMatch"), []),
        (
            S3Proof("http://x", 403, "SignatureDoesNotMatch", 403, "SignatureDoesNotMatch"),
            ["a signed request with 403"],
        ),
        (S3Proof("http://x", 200, "", 200, ""), ["a false secret with 200"]),
    ],
)
def test_a_service_that_tells_no_secrets_apart_is_found(proof: S3Proof, said: list[str]) -> None:
    """One that lets everybody in is as wrong as one that lets nobody in."""
    problems = told_apart(Seen({"cloud1": proof}))
    assert len(problems) == len(said)
    assert all(words in problem for words, problem in zip(said, problems, strict=True))
