// Calls every method that this version of the client knows, each with arguments that a caller would give.
import { readdirSync } from "node:fs";
import {
  appendTransactionMessageInstructions,
  compileTransactionMessage,
  createTransactionMessage,
  getBase64Decoder,
  getBase64EncodedWireTransaction,
  getCompiledTransactionMessageEncoder,
  isSolanaError,
  pipe,
  setTransactionMessageFeePayerSigner,
  setTransactionMessageLifetimeUsingBlockhash,
  signTransactionMessageWithSigners,
} from "@solana/kit";
import { TOKEN_PROGRAM_ADDRESS } from "@solana-program/token";
import { heard } from "./listening.mjs";

const commitment = "confirmed";
const OTHER_FILES = new Set(["index", "transaction-meta"]);

// The names of a package's source files are those of its methods.
function sources(name) {
  const folder = new URL(`./node_modules/@solana/${name}/src/`, import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts"));
  return files.map((file) => file.replace(".ts", "")).filter((file) => !OTHER_FILES.has(file));
}

const camelCase = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());

async function message({ rpc, payer, pay }) {
  const { value: latest } = await rpc.getLatestBlockhash({ commitment }).send();
  return pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayerSigner(payer, m),
    (m) => setTransactionMessageLifetimeUsingBlockhash(latest, m),
    (m) => appendTransactionMessageInstructions([pay()], m),
  );
}

async function calls(story) {
  const { rpc, payer, friend, mint, from, to, slot, signature } = story;
  const unsigned = await message(story);
  const compiled = getCompiledTransactionMessageEncoder().encode(compileTransactionMessage(unsigned));
  const signed = getBase64EncodedWireTransaction(await signTransactionMessageWithSigners(unsigned));
  const base64 = { commitment, encoding: "base64" };
  return {
    getAccountInfo: () => rpc.getAccountInfo(to, base64),
    getAgGenesisCert: () => rpc.getAgGenesisCert(),
    getBalance: () => rpc.getBalance(friend.address, { commitment }),
    getBlock: () => rpc.getBlock(slot, { commitment, maxSupportedTransactionVersion: 0 }),
    getBlockCommitment: () => rpc.getBlockCommitment(slot),
    getBlockHeight: () => rpc.getBlockHeight({ commitment }),
    getBlockProduction: () => rpc.getBlockProduction({ commitment }),
    getBlockTime: () => rpc.getBlockTime(slot),
    getBlocks: () => rpc.getBlocks(slot - 2n, slot, { commitment }),
    getBlocksWithLimit: () => rpc.getBlocksWithLimit(slot - 2n, 3, { commitment }),
    getClusterNodes: () => rpc.getClusterNodes(),
    getEpochInfo: () => rpc.getEpochInfo({ commitment }),
    getEpochSchedule: () => rpc.getEpochSchedule(),
    getFeeForMessage: () => rpc.getFeeForMessage(getBase64Decoder().decode(compiled), { commitment }),
    getFirstAvailableBlock: () => rpc.getFirstAvailableBlock(),
    getGenesisHash: () => rpc.getGenesisHash(),
    getHealth: () => rpc.getHealth(),
    getHighestSnapshotSlot: () => rpc.getHighestSnapshotSlot(),
    getIdentity: () => rpc.getIdentity(),
    getInflationGovernor: () => rpc.getInflationGovernor(),
    getInflationRate: () => rpc.getInflationRate(),
    getInflationReward: () => rpc.getInflationReward([payer.address], { commitment }),
    getLargestAccounts: () => rpc.getLargestAccounts({ commitment }),
    getLatestBlockhash: () => rpc.getLatestBlockhash({ commitment }),
    getLeaderSchedule: () => rpc.getLeaderSchedule(slot, { identity: payer.address }),
    getMaxRetransmitSlot: () => rpc.getMaxRetransmitSlot(),
    getMaxShredInsertSlot: () => rpc.getMaxShredInsertSlot(),
    getMinimumBalanceForRentExemption: () => rpc.getMinimumBalanceForRentExemption(165n),
    getMultipleAccounts: () => rpc.getMultipleAccounts([from, to, payer.address], base64),
    getProgramAccounts: () =>
      rpc.getProgramAccounts(TOKEN_PROGRAM_ADDRESS, { ...base64, filters: [{ dataSize: 165n }], withContext: true }),
    getRecentPerformanceSamples: () => rpc.getRecentPerformanceSamples(3),
    getRecentPrioritizationFees: () => rpc.getRecentPrioritizationFees([from]),
    getSignatureStatuses: () => rpc.getSignatureStatuses([signature], { searchTransactionHistory: true }),
    getSignaturesForAddress: () => rpc.getSignaturesForAddress(to, { commitment, limit: 10 }),
    getSlot: () => rpc.getSlot({ commitment }),
    getSlotLeader: () => rpc.getSlotLeader({ commitment }),
    getSlotLeaders: () => rpc.getSlotLeaders(slot, 3),
    getStakeMinimumDelegation: () => rpc.getStakeMinimumDelegation({ commitment }),
    getSupply: () => rpc.getSupply({ commitment, excludeNonCirculatingAccountsList: true }),
    getTokenAccountBalance: () => rpc.getTokenAccountBalance(to, { commitment }),
    getTokenAccountsByDelegate: () => rpc.getTokenAccountsByDelegate(friend.address, { mint }, base64),
    getTokenAccountsByOwner: () => rpc.getTokenAccountsByOwner(friend.address, { mint }, base64),
    getTokenLargestAccounts: () => rpc.getTokenLargestAccounts(mint, { commitment }),
    getTokenSupply: () => rpc.getTokenSupply(mint, { commitment }),
    getTransaction: () =>
      rpc.getTransaction(signature, { commitment, encoding: "base64", maxSupportedTransactionVersion: 0 }),
    getTransactionCount: () => rpc.getTransactionCount({ commitment }),
    getTransactionsForAddress: () => rpc.getTransactionsForAddress(to),
    getVersion: () => rpc.getVersion(),
    getVoteAccounts: () => rpc.getVoteAccounts({ commitment }),
    isBlockhashValid: () => rpc.isBlockhashValid(unsigned.lifetimeConstraint.blockhash, { commitment }),
    minimumLedgerSlot: () => rpc.minimumLedgerSlot(),
    requestAirdrop: () => rpc.requestAirdrop(friend.address, 5n, { commitment }),
    sendTransaction: () => rpc.sendTransaction(signed, { encoding: "base64", preflightCommitment: commitment }),
    simulateTransaction: () =>
      rpc.simulateTransaction(signed, { ...base64, innerInstructions: true, replaceRecentBlockhash: true }),
  };
}

function topics({ rpcSubscriptions, payer, friend }) {
  return {
    accountNotifications: rpcSubscriptions.accountNotifications(friend.address, { commitment }),
    blockNotifications: rpcSubscriptions.blockNotifications("all", {
      commitment,
      maxSupportedTransactionVersion: 0,
    }),
    logsNotifications: rpcSubscriptions.logsNotifications("all", { commitment }),
    programNotifications: rpcSubscriptions.programNotifications("11111111111111111111111111111111", {
      commitment,
      encoding: "base64",
    }),
    rootNotifications: rpcSubscriptions.rootNotifications(),
    slotNotifications: rpcSubscriptions.slotNotifications(),
    slotsUpdatesNotifications: rpcSubscriptions.slotsUpdatesNotifications(),
  };
}

// A signature's only notification is what sendAndConfirm waits for, and nobody votes on a chain of one node.
const HEARD_ELSEWHERE = ["signatureNotifications", "voteNotifications"];

export async function sweep(story) {
  const asked = await calls(story);
  const replies = {};
  const refused = {};
  for (const [name, call] of Object.entries(asked)) {
    try {
      replies[name] = await call().send();
    } catch (error) {
      if (!isSolanaError(error)) throw error;
      refused[name] = error.context.__code;
    }
  }
  const listened = topics(story);
  const names = Object.keys(listened);
  const votes = await story.rpcSubscriptions
    .voteNotifications()
    .subscribe({ abortSignal: AbortSignal.timeout(1_000) });
  const news = await heard(listened, () => story.run(story.payer, [story.pay()]));
  return {
    replies,
    refused,
    news: Object.fromEntries(names.map((name, index) => [name, news[index]])),
    votes: votes !== undefined,
    notCalled: sources("rpc-api").filter((name) => !(name in asked)),
    notHeard: sources("rpc-subscriptions-api")
      .map(camelCase)
      .filter((name) => !names.includes(name) && !HEARD_ELSEWHERE.includes(name)),
  };
}
