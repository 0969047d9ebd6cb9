"""The chain: how the package reads Solana, signs, sends, and proves what became of what it sent.

Owns RPC endpoints and their batching, addresses, token instructions, mints, signers, the encrypted
keystore, blockhashes, sending and confirming. It never decides that something should be paid and
never records anything but keys: payments commit a signed transaction before this area sends it.
"""

from deal_sdk.chain import instructions, loader
from deal_sdk.chain._errors import parse_retry_after
from deal_sdk.chain.address_hints import AddressSubscriptions
from deal_sdk.chain.addresses import (
    CLASSIC_TOKEN_PROGRAM,
    TOKEN_2022_PROGRAM,
    associated_token_address,
    parse_address,
    token_program_id,
)
from deal_sdk.chain.blockhashes import BlockhashSource
from deal_sdk.chain.compute import ComputeUnits, TransactionShape, exceeded_compute
from deal_sdk.chain.confirmer import Confirmer
from deal_sdk.chain.failures import INSUFFICIENT_FUNDS, OWNER_MISMATCH
from deal_sdk.chain.following import DeliveryNote, Following, Verdict
from deal_sdk.chain.keystore import Keystore, SealedSecret
from deal_sdk.chain.landed_reads import LandedBlocks, LandedReads
from deal_sdk.chain.landed_search import INDEX_LAG_BLOCKS, LandedSearch, search_landed
from deal_sdk.chain.links import LinkSource, links_of
from deal_sdk.chain.owner_signed import (
    UnsignedTransaction,
    check_signed,
    differences_between,
    prepare_transaction,
    required_signers,
)
from deal_sdk.chain.pool import RpcPool
from deal_sdk.chain.priority_fees import PriorityFeePolicy, PriorityFees, priority_fee_lamports
from deal_sdk.chain.program import anchor_provider, async_client
from deal_sdk.chain.remote_signer import RemoteSigner, SigningService, request_hmac
from deal_sdk.chain.replies import (
    AccountSnapshot,
    AddressSignature,
    EpochPosition,
    LandedTransaction,
    LatestBlockhash,
    SignatureStatus,
    Simulation,
    StatusReply,
    TokenAmount,
    TokenBalance,
    TokenHolding,
    TokenSupply,
)
from deal_sdk.chain.rpc import Rpc
from deal_sdk.chain.rpc_opening import open_pool, open_rpc
from deal_sdk.chain.sender import Sender, SendReport
from deal_sdk.chain.signers import KeypairSigner, Signer
from deal_sdk.chain.subscriptions import SignatureHints, SignatureSubscriptions
from deal_sdk.chain.token import (
    MAINNET_GENESIS_HASH,
    create_deal_mint,
    ensure_lamports,
    load_mint,
    load_token_account,
)
from deal_sdk.chain.token_state import MintFacts, TokenAccountState, token_account_size_bytes
from deal_sdk.chain.transactions import (
    SignedTransaction,
    build_and_sign,
    join_signatures,
    unsigned_transaction,
)
from deal_sdk.chain.transport import HttpTransport, LocalnetTransport, Transport, open_transport

__all__ = [
    "CLASSIC_TOKEN_PROGRAM",
    "INDEX_LAG_BLOCKS",
    "INSUFFICIENT_FUNDS",
    "MAINNET_GENESIS_HASH",
    "OWNER_MISMATCH",
    "TOKEN_2022_PROGRAM",
    "AccountSnapshot",
    "AddressSignature",
    "AddressSubscriptions",
    "BlockhashSource",
    "ComputeUnits",
    "Confirmer",
    "DeliveryNote",
    "EpochPosition",
    "Following",
    "HttpTransport",
    "KeypairSigner",
    "Keystore",
    "LandedBlocks",
    "LandedReads",
    "LandedSearch",
    "LandedTransaction",
    "LatestBlockhash",
    "LinkSource",
    "LocalnetTransport",
    "MintFacts",
    "PriorityFeePolicy",
    "PriorityFees",
    "RemoteSigner",
    "Rpc",
    "RpcPool",
    "SealedSecret",
    "SendReport",
    "Sender",
    "SignatureHints",
    "SignatureStatus",
    "SignatureSubscriptions",
    "SignedTransaction",
    "Signer",
    "SigningService",
    "Simulation",
    "StatusReply",
    "TokenAccountState",
    "TokenAmount",
    "TokenBalance",
    "TokenHolding",
    "TokenSupply",
    "TransactionShape",
    "Transport",
    "UnsignedTransaction",
    "Verdict",
    "anchor_provider",
    "associated_token_address",
    "async_client",
    "build_and_sign",
    "check_signed",
    "create_deal_mint",
    "differences_between",
    "ensure_lamports",
    "exceeded_compute",
    "instructions",
    "join_signatures",
    "links_of",
    "load_mint",
    "load_token_account",
    "loader",
    "open_pool",
    "open_rpc",
    "open_transport",
    "parse_address",
    "parse_retry_after",
    "prepare_transaction",
    "priority_fee_lamports",
    "request_hmac",
    "required_signers",
    "search_landed",
    "token_account_size_bytes",
    "token_program_id",
    "unsigned_transaction",
]
