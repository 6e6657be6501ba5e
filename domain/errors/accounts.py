"""Who one is, what one may do, and how much of it."""

from collections.abc import Collection
from uuid import UUID

from domain.errors.kinds import Refusal


class NotAuthenticated(Refusal):
    code = "not_authenticated"

    def __init__(self, reason: str = "no valid token, key or ticket was given") -> None:
        super().__init__(reason)


class WrongCredentials(Refusal):
    """At the door: which of the two is wrong is not told, nor whether there is such an account."""

    code = "wrong_credentials"

    def __init__(self, reason: str = "the e-mail or the password is not right") -> None:
        super().__init__(reason)


class Forbidden(Refusal):
    code = "forbidden"

    def __init__(self, what: str) -> None:
        super().__init__(what)


class ScopeMissing(Refusal):
    """An API key that is not for this."""

    code = "scope_missing"

    def __init__(self, needed: Collection[str], held: Collection[str]) -> None:
        self.needed, self.held = sorted(needed), sorted(held)
        super().__init__(f"expected a key with the scope {' or '.join(self.needed)}, this one has {', '.join(self.held)}")


class AccountInactive(Refusal):
    code = "account_inactive"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class TooManyAttempts(Refusal):
    code = "too_many_attempts"

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"too many attempts: try again in {retry_after_s} s")


class ApiKeyNotFound(Refusal):
    code = "key_not_found"

    def __init__(self, key_id: UUID) -> None:
        self.key_id = key_id
        super().__init__(f"this account has no key {key_id}")


class SessionNotFound(Refusal):
    code = "session_not_found"

    def __init__(self, token_id: UUID) -> None:
        self.token_id = token_id
        super().__init__(f"you have no sign-in {token_id}, or it has ended already")


class GroupNotFound(Refusal):
    code = "group_not_found"

    def __init__(self, group_id: object) -> None:
        self.group_id = group_id
        super().__init__(f"there is no group {str(group_id)[:200]}")


class UserNotFound(Refusal):
    code = "user_not_found"

    def __init__(self, user: UUID | str) -> None:
        self.user = user
        super().__init__(f"no user {user}")


class QuotaReached(Refusal):
    """``quota`` names what is bounded, ``used`` and ``limit`` are in its unit: a count, or bytes. Nothing was written."""

    code = "quota_reached"

    def __init__(self, quota: str, *, used: int, limit: int) -> None:
        self.quota, self.used, self.limit = quota, used, limit
        super().__init__(f"quota {quota}: this account may have {limit}, it has {used}")


class RateReached(QuotaReached):
    code = "rate_reached"

    def __init__(self, quota: str, *, used: int, limit: int, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(quota, used=used, limit=limit)
