"""Solana addresses connected to users.

Owns which address belongs to whom, which is primary, and the custodial ones whose keys the backend
keeps. It never signs and never moves money.
"""

from deal_sdk.wallets.connect import Wallet, WalletManager

__all__ = ["Wallet", "WalletManager"]
