// The peer @solana/kit: sendAndConfirm of TransferChecked, without limits or records. It is asked line by
// line as the other contenders are; see contestants.py.
import readline from "node:readline";
import {
  address,
  appendTransactionMessageInstructions,
  createKeyPairSignerFromBytes,
  createSolanaRpc,
  createSolanaRpcSubscriptions,
  createTransactionMessage,
  getBase58Encoder,
  pipe,
  sendAndConfirmTransactionFactory,
  setTransactionMessageFeePayerSigner,
  setTransactionMessageLifetimeUsingBlockhash,
  signTransactionMessageWithSigners,
} from "@solana/kit";
import { getTransferCheckedInstruction } from "@solana-program/token";

const BLOCKHASH_MILLISECONDS = 3_000;
const CONFIRM_MILLISECONDS = 30_000;
const FIRST_AMOUNT = 3_000_000_000n;

const state = { number: FIRST_AMOUNT, latest: undefined, readAt: 0 };

async function prepare({ rpc_url, websocket_url, world }) {
  state.rpc = createSolanaRpc(rpc_url);
  const rpcSubscriptions = createSolanaRpcSubscriptions(websocket_url);
  state.sendAndConfirm = sendAndConfirmTransactionFactory({ rpc: state.rpc, rpcSubscriptions });
  const base58 = getBase58Encoder();
  state.owners = await Promise.all(
    world.owners.map((secret) => createKeyPairSignerFromBytes(base58.encode(secret))),
  );
  state.accounts = world.accounts.map((account) => address(account));
  state.mint = address(world.mint);
  state.decimals = world.decimals;
  return {};
}

// One blockhash for all callers, for some seconds, as an application that does the least would have it.
function latestBlockhash() {
  if (state.latest === undefined || performance.now() - state.readAt > BLOCKHASH_MILLISECONDS) {
    state.readAt = performance.now();
    state.latest = state.rpc
      .getLatestBlockhash({ commitment: "confirmed" })
      .send()
      .then((reply) => reply.value);
  }
  return state.latest;
}

async function pay() {
  const number = state.number++;
  const payer = Number(number % BigInt(state.owners.length));
  const owner = state.owners[payer];
  const transfer = getTransferCheckedInstruction({
    amount: number,
    authority: owner,
    decimals: state.decimals,
    destination: state.accounts[(payer + 1) % state.accounts.length],
    mint: state.mint,
    source: state.accounts[payer],
  });
  const latest = await latestBlockhash();
  const message = pipe(
    createTransactionMessage({ version: 0 }),
    (m) => setTransactionMessageFeePayerSigner(owner, m),
    (m) => setTransactionMessageLifetimeUsingBlockhash(latest, m),
    (m) => appendTransactionMessageInstructions([transfer], m),
  );
  const transaction = await signTransactionMessageWithSigners(message);
  await state.sendAndConfirm(transaction, {
    abortSignal: AbortSignal.timeout(CONFIRM_MILLISECONDS),
    commitment: "confirmed",
    skipPreflight: true,
  });
}

async function run({ payments, callers }) {
  let left = payments;
  let confirmed = 0;
  let lastConfirmed = 0;
  let lastError;
  const cpuBefore = process.cpuUsage();
  const began = performance.now();
  const caller = async () => {
    while (left-- > 0) {
      try {
        await pay();
        confirmed++;
        lastConfirmed = performance.now();
      } catch (error) {
        lastError = error;
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  if (confirmed === 0) throw lastError;
  const cpu = process.cpuUsage(cpuBefore);
  return {
    payments: confirmed,
    seconds: (lastConfirmed - began) / 1e3,
    cpu_seconds: (cpu.user + cpu.system) / 1e6,
    lost: payments - confirmed,
  };
}

const handlers = { prepare, run };
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  let reply;
  try {
    reply = { result: await handlers[command](given) };
  } catch (error) {
    console.error(error);
    reply = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
process.exit(0);
