"""Prices, and the off-chain side of billing.

Owns what a service costs. It never moves DEAL: payments asks for a price and does the moving.
"""

from deal_sdk.accounting.pricing import DEFAULT_PRICES, Price, PricingService

__all__ = ["DEFAULT_PRICES", "Price", "PricingService"]
