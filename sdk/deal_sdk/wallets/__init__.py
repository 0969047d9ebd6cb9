"""Solana addresses connected to users.

Owns which address belongs to whom, the proof of it by a signed message, which is primary, and the custodial
ones whose keys the backend keeps. It never signs and never moves money.
"""

from deal_sdk.wallets.challenges import WalletChallenges
from deal_sdk.wallets.connect import Wallet, WalletManager
from deal_sdk.wallets.sign_in import WalletChallenge

__all__ = ["Wallet", "WalletChallenge", "WalletChallenges", "WalletManager"]
