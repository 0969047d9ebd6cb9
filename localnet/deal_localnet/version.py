"""The Agave release whose replies the localnet gives."""

from typing import Final

API_VERSION: Final = "3.1.12"
FEATURE_SET: Final = 4_140_108_451
