"""Signing in and out."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from deal_sdk.dashboard.access import csrf_token_of
from deal_sdk.dashboard.endpoints import API_PREFIX, Call, Endpoint, json_response
from deal_sdk.dashboard.models import Done, Session, SignIn
from deal_sdk.dashboard.service import Service

_PATH: Final = f"{API_PREFIX}/session"
_TAG: Final = "session"


async def begin(service: Service, call: Call) -> Response:
    """Check a token and set the session's cookie."""
    form: SignIn = call.body
    principal, cookie = await service.sign_in(form.token, call.request.client)
    session = Session(
        name=principal.name,
        role="operator" if principal.is_operator else "viewer",
        expires_at=principal.expires_at,
        csrf_token=csrf_token_of(cookie),
    )
    response = json_response(session)
    response.set_cookie(
        service.cookie_name,
        cookie,
        max_age=int(service.access.session_seconds),
        path="/",
        secure=service.is_secure,
        httponly=True,
        samesite="strict",
    )
    return response


async def show(service: Service, call: Call) -> Session:
    """Say who is signed in."""
    cookie = call.request.cookies.get(service.cookie_name)
    return Session(
        name=call.caller.name,
        role="operator" if call.caller.is_operator else "viewer",
        expires_at=call.caller.expires_at,
        csrf_token=None if cookie is None or call.caller.expires_at is None else csrf_token_of(cookie),
    )


async def end(service: Service, call: Call) -> Response:
    """End the session and take the cookie back."""
    cookie = call.request.cookies.get(service.cookie_name)
    if cookie is not None:
        await service.access.sign_out(cookie)
    response = json_response(Done())
    response.delete_cookie(
        service.cookie_name, path="/", secure=service.is_secure, httponly=True, samesite="strict"
    )
    return response


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path=_PATH,
        summary="Begin a session with a token",
        tag=_TAG,
        handler=begin,
        body=SignIn,
        answer=Session,
        audience="anyone",
    ),
    Endpoint(
        method="GET", path=_PATH, summary="Say who is signed in", tag=_TAG, handler=show, answer=Session
    ),
    Endpoint(method="DELETE", path=_PATH, summary="End the session", tag=_TAG, handler=end, answer=Done),
)
