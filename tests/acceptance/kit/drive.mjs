// Usage: node drive.mjs <rpc url> <websocket url>. Prints one JSON document with what happened.
import {
  AccountRole,
  address,
  airdropFactory,
  appendTransactionMessageInstructions,
  compressTransactionMessageUsingAddressLookupTables,
  createSolanaRpc,
  createSolanaRpcSubscriptions_UNSTABLE as createSolanaRpcSubscriptions,
  createTransactionMessage,
  fetchAddressesForLookupTables,
  generateKeyPairSigner,
  getAddressEncoder,
  getProgramDerivedAddress,
  getSignatureFromTransaction,
  getU64Encoder,
  lamports,
  pipe,
  sendAndConfirmDurableNonceTransactionFactory,
  sendAndConfirmTransactionFactory,
  setTransactionMessageFeePayerSigner,
  setTransactionMessageLifetimeUsingBlockhash,
  setTransactionMessageLifetimeUsingDurableNonce,
  signTransactionMessageWithSigners,
} from "@solana/kit";
import {
  fetchNonce,
  getCreateAccountInstruction,
  getInitializeNonceAccountInstruction,
  getNonceSize,
  getTransferSolInstruction,
} from "@solana-program/system";
import {
  TOKEN_PROGRAM_ADDRESS,
  fetchToken,
  findAssociatedTokenPda,
  getApproveCheckedInstruction,
  getCreateAssociatedTokenIdempotentInstruction,
  getInitializeMint2Instruction,
  getMintSize,
  getMintToCheckedInstruction,
  getTransferCheckedInstruction,
} from "@solana-program/token";
import { heard, replacer } from "./listening.mjs";
import { sweep } from "./sweep.mjs";

const [rpcUrl, wsUrl] = process.argv.slice(2);
const rpc = createSolanaRpc(rpcUrl);
const rpcSubscriptions = createSolanaRpcSubscriptions(wsUrl);
const sendAndConfirm = sendAndConfirmTransactionFactory({ rpc, rpcSubscriptions });
const commitment = "confirmed";
const DECIMALS = 8;
const MEMO_PROGRAM = address("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");
const TABLE_PROGRAM = address("AddressLookupTab1e1111111111111111111111111");
const SYSTEM_PROGRAM = address("11111111111111111111111111111111");

async function run(payer, instructions, tables = {}) {
  const { value: latest } = await rpc.getLatestBlockhash({ commitment }).send();
  const message = pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayerSigner(payer, m),
    (m) => setTransactionMessageLifetimeUsingBlockhash(latest, m),
    (m) => appendTransactionMessageInstructions(instructions, m),
    (m) => compressTransactionMessageUsingAddressLookupTables(m, tables),
  );
  const transaction = await signTransactionMessageWithSigners(message);
  await sendAndConfirm(transaction, { commitment });
  return getSignatureFromTransaction(transaction);
}

const memo = (text) => ({ programAddress: MEMO_PROGRAM, data: new TextEncoder().encode(text) });
const pay = (destination, amount) =>
  getTransferSolInstruction({ amount: lamports(amount), destination, source: payer });

const [payer, friend, mint] = await Promise.all([1, 2, 3].map(() => generateKeyPairSigner()));
await airdropFactory({ rpc, rpcSubscriptions })({
  commitment,
  lamports: lamports(2_000_000_000n),
  recipientAddress: payer.address,
});

// The friend's wallet is watched while it is paid.
const [accountNews, logsNews, blockNews, paid] = await heard(
  {
    account: rpcSubscriptions.accountNotifications(friend.address, { commitment, encoding: "base64" }),
    logs: rpcSubscriptions.logsNotifications({ mentions: [friend.address] }, { commitment }),
    block: rpcSubscriptions.blockNotifications(
      { mentionsAccountOrProgram: friend.address },
      { commitment, encoding: "base64", transactionDetails: "signatures", maxSupportedTransactionVersion: 0 },
    ),
  },
  () => run(payer, [pay(friend.address, 1_000_000n)]),
);

// A mint, two token accounts, and a transfer with a memo.
const space = BigInt(getMintSize());
const rent = await rpc.getMinimumBalanceForRentExemption(space).send();
const tokenProgram = TOKEN_PROGRAM_ADDRESS;
const [from] = await findAssociatedTokenPda({ mint: mint.address, owner: payer.address, tokenProgram });
const [to] = await findAssociatedTokenPda({ mint: mint.address, owner: friend.address, tokenProgram });
const open = (ata, owner) =>
  getCreateAssociatedTokenIdempotentInstruction({ ata, mint: mint.address, owner, payer, tokenProgram });
await run(payer, [
  getCreateAccountInstruction({
    lamports: rent,
    newAccount: mint,
    payer,
    programAddress: tokenProgram,
    space,
  }),
  getInitializeMint2Instruction({ decimals: DECIMALS, mint: mint.address, mintAuthority: payer.address }),
  open(from, payer.address),
  getMintToCheckedInstruction({
    amount: 500_000_000n,
    decimals: DECIMALS,
    mint: mint.address,
    mintAuthority: payer,
    token: from,
  }),
]);
const moved = await run(payer, [
  open(to, friend.address),
  getTransferCheckedInstruction({
    amount: 150_000_000n,
    authority: payer,
    decimals: DECIMALS,
    destination: to,
    mint: mint.address,
    source: from,
  }),
  getApproveCheckedInstruction({
    amount: 7n,
    decimals: DECIMALS,
    delegate: friend.address,
    mint: mint.address,
    owner: payer,
    source: from,
  }),
  memo("thank you"),
]);

// A lookup table, and a versioned transaction that takes its addresses from there.
const others = await Promise.all([1, 2, 3].map(() => generateKeyPairSigner()));
const recentSlot = await rpc.getSlot({ commitment }).send();
const [table, bump] = await getProgramDerivedAddress({
  programAddress: TABLE_PROGRAM,
  seeds: [getAddressEncoder().encode(payer.address), getU64Encoder().encode(recentSlot)],
});
const tableAccounts = (authorityRole) => [
  { address: table, role: AccountRole.WRITABLE },
  { address: payer.address, role: authorityRole, signer: payer },
  { address: payer.address, role: AccountRole.WRITABLE_SIGNER, signer: payer },
  { address: SYSTEM_PROGRAM, role: AccountRole.READONLY },
];
const tagged = (tag, ...parts) => new Uint8Array([tag, 0, 0, 0, ...parts.flatMap((part) => [...part])]);
const encodeAddress = (key) => getAddressEncoder().encode(key);
await run(payer, [
  {
    programAddress: TABLE_PROGRAM,
    accounts: tableAccounts(AccountRole.READONLY_SIGNER),
    data: tagged(0, getU64Encoder().encode(recentSlot), [bump]),
  },
  {
    programAddress: TABLE_PROGRAM,
    accounts: tableAccounts(AccountRole.READONLY_SIGNER),
    data: tagged(2, getU64Encoder().encode(3n), ...others.map((other) => encodeAddress(other.address))),
  },
]);
const tables = await fetchAddressesForLookupTables([table], rpc, { commitment });
const lookedUp = await run(
  payer,
  others.map((other) => pay(other.address, 1_000_000n)),
  tables,
);

// A transaction that lives by a durable nonce.
const nonce = await generateKeyPairSigner();
const nonceSpace = BigInt(getNonceSize());
await run(payer, [
  getCreateAccountInstruction({
    lamports: await rpc.getMinimumBalanceForRentExemption(nonceSpace).send(),
    newAccount: nonce,
    payer,
    programAddress: SYSTEM_PROGRAM,
    space: nonceSpace,
  }),
  getInitializeNonceAccountInstruction({ nonceAccount: nonce.address, nonceAuthority: payer.address }),
]);
const held = await fetchNonce(rpc, nonce.address, { commitment });
const lifetime = {
  nonce: held.data.blockhash,
  nonceAccountAddress: nonce.address,
  nonceAuthorityAddress: payer.address,
};
const durable = await signTransactionMessageWithSigners(
  pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayerSigner(payer, m),
    (m) => setTransactionMessageLifetimeUsingDurableNonce(lifetime, m),
    (m) => appendTransactionMessageInstructions([pay(nonce.address, 5n)], m),
  ),
);
await sendAndConfirmDurableNonceTransactionFactory({ rpc, rpcSubscriptions })(durable, { commitment });
const movedOn = await fetchNonce(rpc, nonce.address, { commitment });

const token = await fetchToken(rpc, to, { commitment });
const balance = await rpc.getBalance(friend.address, { commitment }).send();
const config = { commitment, encoding: "jsonParsed", maxSupportedTransactionVersion: 0 };
const transaction = await rpc.getTransaction(moved, config).send();
const raw = await rpc.getTransaction(lookedUp, { ...config, encoding: "json" }).send();
const block = await rpc.getBlock(transaction.slot, { ...config, rewards: false }).send();
const holders = await rpc
  .getProgramAccounts(tokenProgram, {
    commitment,
    encoding: "jsonParsed",
    filters: [{ dataSize: 165n }, { memcmp: { offset: 0n, bytes: mint.address, encoding: "base58" } }],
  })
  .send();

console.log(
  JSON.stringify(
    {
      friendLamports: balance.value,
      friendTokens: token.data.amount,
      accountLamports: accountNews.value.lamports,
      logsSignature: logsNews.value.signature,
      blockSignatures: blockNews.value.block.signatures,
      paid,
      memoLogs: transaction.meta.logMessages.filter((line) => line.includes("thank you")),
      instructions: transaction.transaction.message.instructions.map((item) => item.parsed?.type ?? item.parsed),
      blockHasIt: block.transactions.some((entry) => entry.transaction.signatures[0] === moved),
      holders: holders.map((holder) => holder.account.data.parsed.info.tokenAmount.amount).sort(),
      tableAddresses: tables[table].length,
      nonceMoved: held.data.blockhash !== movedOn.data.blockhash,
      loaded: raw.meta.loadedAddresses.writable.length,
      sweep: await sweep({
        rpc,
        rpcSubscriptions,
        payer,
        friend,
        mint: mint.address,
        from,
        to,
        table,
        slot: transaction.slot,
        signature: moved,
        pay: () => pay(friend.address, 1n),
        run,
      }),
    },
    replacer,
  ),
);
