// Usage: node drive.mjs <rpc url>. Prints one JSON document with what happened.
import {
  AddressLookupTableProgram,
  Connection,
  Keypair,
  LAMPORTS_PER_SOL,
  NONCE_ACCOUNT_LENGTH,
  PublicKey,
  SystemProgram,
  Transaction,
  TransactionInstruction,
  TransactionMessage,
  VersionedTransaction,
  sendAndConfirmTransaction,
} from "@solana/web3.js";
import {
  TOKEN_PROGRAM_ID,
  approve,
  createMint,
  createTransferCheckedInstruction,
  getAccount,
  getOrCreateAssociatedTokenAccount,
  mintTo,
} from "@solana/spl-token";
import { sweep } from "./sweep.mjs";

const commitment = "confirmed";
const DECIMALS = 8;
const TOLD_MILLISECONDS = 20_000;
const MEMO_PROGRAM = new PublicKey("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");

// The WebSocket's address is left to the library, which takes the port after the other.
const connection = new Connection(process.argv[2], commitment);

// The first news of a subscription; what it was subscribed by is left again.
function first(listen, leave) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${listen} was not told`)), TOLD_MILLISECONDS);
    const identifier = listen((...news) => {
      clearTimeout(timer);
      leave(identifier).then(() => resolve(news), reject);
    });
  });
}

async function sendVersioned(instructions, tables = []) {
  const latest = await connection.getLatestBlockhash();
  const message = new TransactionMessage({
    payerKey: payer.publicKey,
    recentBlockhash: latest.blockhash,
    instructions,
  }).compileToV0Message(tables);
  const transaction = new VersionedTransaction(message);
  transaction.sign([payer]);
  const signature = await connection.sendTransaction(transaction);
  const confirmed = await connection.confirmTransaction({ signature, ...latest }, commitment);
  if (confirmed.value.err) throw new Error(JSON.stringify(confirmed.value.err));
  return signature;
}

const pay = (to, lamports) =>
  SystemProgram.transfer({ fromPubkey: payer.publicKey, toPubkey: to, lamports });

const [payer, friend, nonce] = [Keypair.generate(), Keypair.generate(), Keypair.generate()];
const airdrop = await connection.requestAirdrop(payer.publicKey, 5 * LAMPORTS_PER_SOL);
await connection.confirmTransaction({ signature: airdrop, ...(await connection.getLatestBlockhash()) });

// Everything that can be listened to, while the friend is paid.
const news = Promise.all([
  first((told) => connection.onAccountChange(friend.publicKey, told), (id) => connection.removeAccountChangeListener(id)),
  first((told) => connection.onLogs(friend.publicKey, told), (id) => connection.removeOnLogsListener(id)),
  first(
    (told) => connection.onProgramAccountChange(SystemProgram.programId, told),
    (id) => connection.removeProgramAccountChangeListener(id),
  ),
  first((told) => connection.onSlotUpdate(told), (id) => connection.removeSlotUpdateListener(id)),
  first((told) => connection.onRootChange(told), (id) => connection.removeRootChangeListener(id)),
]);
// web3.js subscribes in the background and in this order: once slots are told, so is everything before.
const [slot] = await first((told) => connection.onSlotChange(told), (id) => connection.removeSlotChangeListener(id));
const paid = await sendAndConfirmTransaction(
  connection,
  new Transaction().add(pay(friend.publicKey, LAMPORTS_PER_SOL)),
  [payer],
);
const [[account], [logs], [program], [slotUpdate], [root]] = await news;

// A mint, token accounts, and a transfer with a memo.
const mint = await createMint(connection, payer, payer.publicKey, null, DECIMALS);
const from = await getOrCreateAssociatedTokenAccount(connection, payer, mint, payer.publicKey);
const to = await getOrCreateAssociatedTokenAccount(connection, payer, mint, friend.publicKey);
await mintTo(connection, payer, mint, from.address, payer, 500_000_000n);
await approve(connection, payer, from.address, friend.publicKey, payer, 7n);
const moved = await sendVersioned([
  createTransferCheckedInstruction(from.address, mint, to.address, payer.publicKey, 150_000_000n, DECIMALS),
  new TransactionInstruction({ programId: MEMO_PROGRAM, keys: [], data: Buffer.from("thank you") }),
]);

// A lookup table, and a versioned transaction that takes its addresses from there.
const others = Array.from({ length: 3 }, () => Keypair.generate().publicKey);
const [create, table] = AddressLookupTableProgram.createLookupTable({
  authority: payer.publicKey,
  payer: payer.publicKey,
  recentSlot: await connection.getSlot(),
});
const extend = AddressLookupTableProgram.extendLookupTable({
  lookupTable: table,
  authority: payer.publicKey,
  payer: payer.publicKey,
  addresses: others,
});
await sendVersioned([create, extend]);
const found = (await connection.getAddressLookupTable(table)).value;
const lookedUp = await sendVersioned(
  others.map((other) => pay(other, 1_000_000)),
  [found],
);

// A nonce account, for getNonce.
await sendAndConfirmTransaction(
  connection,
  SystemProgram.createNonceAccount({
    fromPubkey: payer.publicKey,
    noncePubkey: nonce.publicKey,
    authorizedPubkey: payer.publicKey,
    lamports: await connection.getMinimumBalanceForRentExemption(NONCE_ACCOUNT_LENGTH),
  }),
  [payer, nonce],
);

const options = { commitment, maxSupportedTransactionVersion: 0 };
const [parsed, versioned] = await connection.getParsedTransactions([moved, lookedUp], options);
const raw = await connection.getTransaction(lookedUp, options);
const block = await connection.getBlock(parsed.slot, options);
const holders = await connection.getProgramAccounts(TOKEN_PROGRAM_ID, {
  filters: [{ dataSize: 165 }, { memcmp: { offset: 0, bytes: mint.toBase58() } }],
});

console.log(
  JSON.stringify(
    {
      paid,
      accountLamports: account.lamports,
      logs,
      programLamports: program.accountInfo.lamports,
      slot,
      slotUpdate: slotUpdate.type,
      root,
      friendTokens: (await getAccount(connection, to.address)).amount,
      memo: parsed.transaction.message.instructions.map((item) => item.parsed?.type ?? item.parsed),
      versionedSources: versioned.transaction.message.accountKeys.map((key) => key.source),
      loaded: raw.meta.loadedAddresses.writable.length,
      blockHasIt: block.transactions.some((entry) => entry.transaction.signatures[0] === moved),
      holders: holders.map((holder) => holder.pubkey.toBase58()).sort(),
      accounts: [from.address.toBase58(), to.address.toBase58()].sort(),
      tableAddresses: found.state.addresses.length,
      sweep: await sweep({
        connection,
        payer,
        friend,
        mint,
        from,
        to,
        table,
        nonce,
        paid,
        moved,
        slot: parsed.slot,
        pay,
      }),
    },
    (_, value) => (typeof value === "bigint" ? value.toString() : value),
  ),
);
process.exit(0);
