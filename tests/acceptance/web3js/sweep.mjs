// Calls every public method of Connection, each with arguments that a caller would give.
import { TOKEN_PROGRAM_ID } from "@solana/spl-token";
import { Connection, Keypair, Transaction, TransactionMessage, VersionedTransaction } from "@solana/web3.js";

const commitment = "confirmed";
const options = { commitment, maxSupportedTransactionVersion: 0 };

// Listeners, which the story uses, and what TypeScript hides from callers.
const NOT_CALLS = new Set(["constructor", "commitment", "rpcEndpoint", "getCancellationPromise"]);
const isInternal = (name) =>
  name.startsWith("_") || name.startsWith("confirmTransactionUsing") || name === "getTransactionConfirmationPromise";
const isListener = (name) => /^(on[A-Z]|remove.*Listener$)/.test(name);

async function calls({ connection, payer, friend, mint, from, to, table, nonce, paid, moved, slot, pay }) {
  const latest = await connection.getLatestBlockhash();
  const signed = (lamports) => {
    const message = new TransactionMessage({
      payerKey: payer.publicKey,
      recentBlockhash: latest.blockhash,
      instructions: [pay(friend.publicKey, lamports)],
    }).compileToV0Message();
    const transaction = new VersionedTransaction(message);
    transaction.sign([payer]);
    return transaction;
  };
  const wire = (lamports) => signed(lamports).serialize();
  const airdrop = () => connection.requestAirdrop(Keypair.generate().publicKey, 1_000_000);
  return {
    confirmTransaction: async () => connection.confirmTransaction({ signature: await airdrop(), ...latest }),
    getAccountInfo: () => connection.getAccountInfo(to.address),
    getAccountInfoAndContext: () => connection.getAccountInfoAndContext(to.address),
    getAddressLookupTable: () => connection.getAddressLookupTable(table),
    getBalance: () => connection.getBalance(friend.publicKey),
    getBalanceAndContext: () => connection.getBalanceAndContext(friend.publicKey),
    getBlock: () => connection.getBlock(slot, options),
    getBlockHeight: () => connection.getBlockHeight(),
    getBlockProduction: () => connection.getBlockProduction(),
    getBlockSignatures: () => connection.getBlockSignatures(slot),
    getBlockTime: () => connection.getBlockTime(slot),
    getBlocks: () => connection.getBlocks(slot - 2, slot),
    getClusterNodes: () => connection.getClusterNodes(),
    getConfirmedBlock: () => connection.getConfirmedBlock(slot - 1),
    getConfirmedBlockSignatures: () => connection.getConfirmedBlockSignatures(slot),
    getConfirmedSignaturesForAddress: () => connection.getConfirmedSignaturesForAddress(to.address, 1, 2),
    getConfirmedSignaturesForAddress2: () => connection.getConfirmedSignaturesForAddress2(to.address, { limit: 3 }),
    getConfirmedTransaction: () => connection.getConfirmedTransaction(paid),
    getEpochInfo: () => connection.getEpochInfo(),
    getEpochSchedule: () => connection.getEpochSchedule(),
    getFeeCalculatorForBlockhash: () => connection.getFeeCalculatorForBlockhash(latest.blockhash),
    getFeeForMessage: () => connection.getFeeForMessage(signed(1).message),
    getFirstAvailableBlock: () => connection.getFirstAvailableBlock(),
    getGenesisHash: () => connection.getGenesisHash(),
    getInflationGovernor: () => connection.getInflationGovernor(),
    getInflationRate: () => connection.getInflationRate(),
    getInflationReward: () => connection.getInflationReward([payer.publicKey]),
    getLargestAccounts: () => connection.getLargestAccounts(),
    getLatestBlockhash: () => connection.getLatestBlockhash(),
    getLatestBlockhashAndContext: () => connection.getLatestBlockhashAndContext(),
    getLeaderSchedule: async () => Object.keys(await connection.getLeaderSchedule()),
    getMinimumBalanceForRentExemption: () => connection.getMinimumBalanceForRentExemption(165),
    getMinimumLedgerSlot: () => connection.getMinimumLedgerSlot(),
    getMultipleAccountsInfo: () => connection.getMultipleAccountsInfo([from.address, to.address]),
    getMultipleAccountsInfoAndContext: () => connection.getMultipleAccountsInfoAndContext([from.address]),
    getMultipleParsedAccounts: () => connection.getMultipleParsedAccounts([from.address, table, nonce.publicKey]),
    getNonce: () => connection.getNonce(nonce.publicKey),
    getNonceAndContext: () => connection.getNonceAndContext(nonce.publicKey),
    getParsedAccountInfo: () => connection.getParsedAccountInfo(to.address),
    getParsedBlock: () => connection.getParsedBlock(slot, options),
    getParsedConfirmedTransaction: () => connection.getParsedConfirmedTransaction(paid),
    getParsedConfirmedTransactions: () => connection.getParsedConfirmedTransactions([paid]),
    getParsedProgramAccounts: () =>
      connection.getParsedProgramAccounts(TOKEN_PROGRAM_ID, { filters: [{ dataSize: 165 }] }),
    getParsedTokenAccountsByOwner: () => connection.getParsedTokenAccountsByOwner(friend.publicKey, { mint }),
    getParsedTransaction: () => connection.getParsedTransaction(moved, options),
    getParsedTransactions: () => connection.getParsedTransactions([moved], options),
    getProgramAccounts: () => connection.getProgramAccounts(TOKEN_PROGRAM_ID, { filters: [{ dataSize: 82 }] }),
    getRecentBlockhash: () => connection.getRecentBlockhash(),
    getRecentBlockhashAndContext: () => connection.getRecentBlockhashAndContext(),
    getRecentPerformanceSamples: () => connection.getRecentPerformanceSamples(3),
    getRecentPrioritizationFees: () =>
      connection.getRecentPrioritizationFees({ lockedWritableAccounts: [from.address] }),
    getSignatureStatus: () => connection.getSignatureStatus(moved),
    getSignatureStatuses: () => connection.getSignatureStatuses([moved], { searchTransactionHistory: true }),
    getSignaturesForAddress: () => connection.getSignaturesForAddress(to.address, { limit: 3 }),
    getSlot: () => connection.getSlot(),
    getSlotLeader: () => connection.getSlotLeader(),
    getSlotLeaders: () => connection.getSlotLeaders(slot, 3),
    getStakeActivation: () => connection.getStakeActivation(payer.publicKey),
    getStakeMinimumDelegation: () => connection.getStakeMinimumDelegation(),
    getSupply: () => connection.getSupply(),
    getTokenAccountBalance: () => connection.getTokenAccountBalance(to.address),
    getTokenAccountsByOwner: () => connection.getTokenAccountsByOwner(friend.publicKey, { programId: TOKEN_PROGRAM_ID }),
    getTokenLargestAccounts: () => connection.getTokenLargestAccounts(mint),
    getTokenSupply: () => connection.getTokenSupply(mint),
    getTotalSupply: () => connection.getTotalSupply(),
    getTransaction: () => connection.getTransaction(moved, options),
    getTransactionCount: () => connection.getTransactionCount(),
    getTransactions: () => connection.getTransactions([moved], options),
    getVersion: () => connection.getVersion(),
    getVoteAccounts: () => connection.getVoteAccounts(),
    isBlockhashValid: () => connection.isBlockhashValid(latest.blockhash),
    requestAirdrop: airdrop,
    sendEncodedTransaction: () => connection.sendEncodedTransaction(Buffer.from(wire(2)).toString("base64")),
    sendRawTransaction: () => connection.sendRawTransaction(wire(3)),
    sendTransaction: () => connection.sendTransaction(new Transaction().add(pay(friend.publicKey, 4)), [payer]),
    simulateTransaction: () => connection.simulateTransaction(signed(5)),
  };
}

export async function sweep(story) {
  const asked = await calls(story);
  const replies = {};
  const refused = {};
  for (const [name, call] of Object.entries(asked)) {
    try {
      replies[name] = await call();
    } catch (error) {
      refused[name] = error.message;
    }
  }
  const known = Object.getOwnPropertyNames(Connection.prototype);
  const public_ = known.filter((name) => !NOT_CALLS.has(name) && !isInternal(name) && !isListener(name));
  return { replies, refused, notCalled: public_.filter((name) => !(name in asked)) };
}
