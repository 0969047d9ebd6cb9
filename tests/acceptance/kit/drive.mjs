// Usage: node drive.mjs <rpc url> <websocket url>. Prints one JSON document with what happened.
import {
  airdropFactory,
  appendTransactionMessageInstructions,
  createSolanaRpc,
  createSolanaRpcSubscriptions,
  createTransactionMessage,
  generateKeyPairSigner,
  getSignatureFromTransaction,
  lamports,
  pipe,
  sendAndConfirmTransactionFactory,
  setTransactionMessageFeePayerSigner,
  setTransactionMessageLifetimeUsingBlockhash,
  signTransactionMessageWithSigners,
} from "@solana/kit";
import { getCreateAccountInstruction, getTransferSolInstruction } from "@solana-program/system";
import {
  TOKEN_PROGRAM_ADDRESS,
  fetchToken,
  findAssociatedTokenPda,
  getCreateAssociatedTokenIdempotentInstruction,
  getInitializeMint2Instruction,
  getMintSize,
  getMintToCheckedInstruction,
  getTransferCheckedInstruction,
} from "@solana-program/token";

const [rpcUrl, wsUrl] = process.argv.slice(2);
const rpc = createSolanaRpc(rpcUrl);
const rpcSubscriptions = createSolanaRpcSubscriptions(wsUrl);
const sendAndConfirm = sendAndConfirmTransactionFactory({ rpc, rpcSubscriptions });
const DECIMALS = 8;

async function run(payer, instructions) {
  const { value: latest } = await rpc.getLatestBlockhash({ commitment: "confirmed" }).send();
  const message = pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayerSigner(payer, m),
    (m) => setTransactionMessageLifetimeUsingBlockhash(latest, m),
    (m) => appendTransactionMessageInstructions(instructions, m),
  );
  const transaction = await signTransactionMessageWithSigners(message);
  await sendAndConfirm(transaction, { commitment: "confirmed" });
  return getSignatureFromTransaction(transaction);
}

const [payer, friend, mint] = await Promise.all([1, 2, 3].map(() => generateKeyPairSigner()));
await airdropFactory({ rpc, rpcSubscriptions })({
  commitment: "confirmed",
  lamports: lamports(2_000_000_000n),
  recipientAddress: payer.address,
});
const transfer = await run(payer, [
  getTransferSolInstruction({ amount: lamports(1_000_000n), destination: friend.address, source: payer }),
]);

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
await run(payer, [
  open(to, friend.address),
  getTransferCheckedInstruction({
    amount: 150_000_000n,
    authority: payer,
    decimals: DECIMALS,
    destination: to,
    mint: mint.address,
    source: from,
  }),
]);

const token = await fetchToken(rpc, to, { commitment: "confirmed" });
const balance = await rpc.getBalance(friend.address, { commitment: "confirmed" }).send();
console.log(
  JSON.stringify({
    friendLamports: String(balance.value),
    friendTokens: String(token.data.amount),
    transfer,
  }),
);
