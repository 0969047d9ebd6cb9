"""The dashboard: a page that shows what a `Deal` does, live, with the JSON API that it is made of.

Owns the HTTP and WebSocket surface: who may look and who may act, the forms of requests and answers, the
live stream, and the page's files. It never decides about money and never writes to a table of another area:
what it does is what the `Deal` offers. Needs the extra deal-sdk[dashboard].
"""

from deal_sdk.dashboard.access import AccessToken, DashboardAccess, Principal
from deal_sdk.dashboard.application import Dashboard
from deal_sdk.dashboard.live import LiveHub
from deal_sdk.dashboard.server import DashboardServer, TlsFiles

__all__ = [
    "AccessToken",
    "Dashboard",
    "DashboardAccess",
    "DashboardServer",
    "LiveHub",
    "Principal",
    "TlsFiles",
]
