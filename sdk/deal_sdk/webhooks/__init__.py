"""Webhooks: events told to other systems over HTTP, to people by mail, and kept when nobody takes them.

Owns endpoints and their secrets, the outbox into which events are written beside what they tell of, and
their delivery: at least once, each under an id that stays the same. It never decides what happened, never
slows what it tells of, and never connects to a private network unless the operator allows it.
"""

from deal_sdk.webhooks._errors import NoReplyError
from deal_sdk.webhooks.bus import BusEvents
from deal_sdk.webhooks.channels import ALERT_EVENTS, ChannelSender, MailServer, mail_of
from deal_sdk.webhooks.deliveries import WebhookDelivery
from deal_sdk.webhooks.delivery import DeliveryBounds, WebhookDeliverer
from deal_sdk.webhooks.endpoints import NewEndpoint, WebhookEndpoint
from deal_sdk.webhooks.outbox import Outbox, OutgoingEvent
from deal_sdk.webhooks.secrets import SigningSecrets
from deal_sdk.webhooks.sender import HttpSender, WebhookReply, WebhookSender
from deal_sdk.webhooks.service import WebhookService
from deal_sdk.webhooks.signatures import SIGNATURE_HEADER, sign_webhook, verify_webhook

__all__ = [
    "ALERT_EVENTS",
    "SIGNATURE_HEADER",
    "BusEvents",
    "ChannelSender",
    "DeliveryBounds",
    "HttpSender",
    "MailServer",
    "NewEndpoint",
    "NoReplyError",
    "Outbox",
    "OutgoingEvent",
    "SigningSecrets",
    "WebhookDeliverer",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookReply",
    "WebhookSender",
    "WebhookService",
    "mail_of",
    "sign_webhook",
    "verify_webhook",
]
