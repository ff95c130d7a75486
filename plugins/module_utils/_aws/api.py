# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of a boto3 client, with errors that name the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .._common.advice import AWS_PROBLEMS, advice
from .._common.progress import NoAnswerError, OperationError

THROTTLED = re.compile(r"Throttl|RequestLimitExceeded|TooManyRequests|SlowDown|ServiceUnavailable|InternalError")
DENIED = re.compile(r"AccessDenied|UnauthorizedOperation|NotAuthorized")
# Services whose IAM prefix differs from their signing name.
IAM_NAMES = {"monitoring": "cloudwatch"}


def _advice(message: str) -> str:
    return advice(AWS_PROBLEMS, message, machine="the controller")


class RefusedError(OperationError):
    """AWS returned an error: its code and message."""

    def __init__(self, words: str, code: str, said: str) -> None:
        super().__init__(words)
        self.code = code
        self.said = said


class Api:
    """The service of a boto3 client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def region(self) -> str:
        return str(self._client.meta.region_name)

    def call(self, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
        """The response of an API operation on `what`; raises NoAnswerError or OperationError."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            HTTPClientError,
            NoCredentialsError,
        )
        from botocore.exceptions import (
            ConnectionError as NoConnectionError,
        )
        from botocore.parsers import ResponseParserError

        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        try:
            answer: dict[str, Any] = getattr(self._client, method)(**arguments)
            return answer
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            said = error.response.get("Error", {}).get("Message", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise self._refused(operation, what, code, said, status) from error
        except NoCredentialsError as error:
            raise OperationError(
                "No AWS credentials were found: set profile, or access_key and secret_key, or the environment's "
                "AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or attach an instance profile."
            ) from error
        except (NoConnectionError, HTTPClientError) as error:
            message = f"{operation} got no answer: {error}. {_advice(str(error))}"
            raise NoAnswerError(message.strip()) from error
        except ResponseParserError as error:
            url = self._client.meta.endpoint_url
            raise NoAnswerError(
                f"{operation} got a response that is not from AWS. Check that {url} is the right endpoint, and that no "
                "proxy answers instead."
            ) from error
        except BotoCoreError as error:
            raise OperationError(f"{operation} failed: {error}. {_advice(str(error))}".strip()) from error

    def pages(self, operation: str, what: str, key: str, **arguments: Any) -> Iterator[Any]:
        """The items below the key in the responses of all pages."""
        token: dict[str, Any] = {}
        while True:
            answer = self.call(operation, what, **arguments, **token)
            yield from answer.get(key, [])
            # ECS, ECR and CloudWatch Logs have it in camel case.
            token = {name: answer[name] for name in ("NextToken", "nextToken") if answer.get(name)}
            if not token:
                return

    def _refused(self, operation: str, what: str, code: str, said: str, status: int) -> OperationError:
        if DENIED.search(code):
            service = self._client.meta.service_model.signing_name
            permission = f"{IAM_NAMES.get(service, service)}:{operation}"
            words = f"AWS denies it: the role or user needs {permission} on {what}. ({said})"
        elif THROTTLED.search(code) or status >= 500:
            return NoAnswerError(f"AWS did not serve {operation}: {code}: {said}")
        else:
            words = f"{operation} failed: {code}: {said}. {_advice(code + ' ' + said)}".strip()
        return RefusedError(words, code, said)
