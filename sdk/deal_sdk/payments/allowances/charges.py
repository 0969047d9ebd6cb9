"""The program's instructions for payments, each charge with the sequence that it took.

A charge that is signed again keeps its sequence: whichever of its transactions lands first uses the
sequence up, and every other one is refused by the program.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from deal_sdk.chain import Keystore, Rpc
from deal_sdk.chain.allowance import AllowanceState
from deal_sdk.clock import Clock
from deal_sdk.errors import AllowanceError, InvalidInputError, RpcUnavailableError
from deal_sdk.payments.allowances.deployment import ProgramDeployment
from deal_sdk.payments.allowances.turns import ChargeTurns, Turn
from deal_sdk.payments.orders import PROGRAM_KINDS, Plan
from deal_sdk.records import Transaction

logger = logging.getLogger(__name__)

WRONG_SEQUENCE: Final = "WrongSequence"
WRONG_AUTHORITY: Final = "WrongAuthority"
FIRST_LOOK_SECONDS: Final = 0.05
MAX_LOOK_SECONDS: Final = 1.0
MAX_SEARCHED_SIGNATURES: Final = 1_000


class ChargeInstructions:
    """Builds charges, rewards and withdrawals, and says what a used sequence means."""

    def __init__(
        self,
        *,
        deployment: ProgramDeployment,
        turns: ChargeTurns,
        keystore: Keystore,
        rpc: Rpc,
        clock: Clock,
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._deployment = deployment
        self._keystore = keystore
        self._turns = turns
        self._rpc = rpc
        self._clock = clock

    async def movement(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> Instruction:
        """Build a payment's instruction; a charge waits until it is its turn.

        Args:
            payment_id: the reference that stays on the chain.
            plan: a charge, a reward out of the vault, or a withdrawal from it.
            amount_base_units: how much.

        Raises:
            AllowanceError: when the merchant or the allowance is not there.
            ChainError, DatabaseError: nothing was signed; ask again.
        """
        if plan.kind == "charge":
            turn = await self._turn(payment_id, plan)
            return await self._charge(payment_id, plan, amount_base_units, turn)
        if plan.kind == "vault_reward":
            return await self._vault_reward(plan, amount_base_units)
        client = await self._deployment.client()
        return client.withdraw_vault(await self._deployment.merchant(), amount_base_units=amount_base_units)

    async def charge_now(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> Instruction | None:
        """Build a charge if it is its turn now; see `movement`.

        Returns:
            None while another charge of the allowance is under way.
        """
        turn = await self._turns.take(payment_id, str(_allowance(plan)), _required(plan.source))
        return None if turn is None else await self._charge(payment_id, plan, amount_base_units, turn)

    async def may_sign_again(self, payment: Transaction, evidence: Mapping[str, Any]) -> bool:
        """Say whether a payment whose only live attempt failed for good may be signed again all the same.

        So it is when the sequence was not its turn: either the chain is not that far, or a finalized
        transaction shows that another reference took it, and then the payment takes a new one. And so it is
        when the merchant was handed over meanwhile to a key that is here.

        Args:
            payment: the one that failed.
            evidence: of the finalized failure.

        Raises:
            RpcUnavailableError: when the chain does not show who took the sequence; nothing is decided.
        """
        plan = Plan.from_json(payment.instruction or {})
        refusal = (evidence.get("failure") or {}).get("name")
        if plan.kind in PROGRAM_KINDS and refusal == WRONG_AUTHORITY:
            return await self._keystore.has(str((await self._deployment.merchant_now()).authority))
        if plan.kind != "charge" or refusal != WRONG_SEQUENCE:
            return False
        sequence = await self._turns.sequence_of(payment.id)
        state = await self._deployment.allowance(_allowance(plan), "finalized")
        if sequence is None or state is None or state.next_sequence <= sequence:
            return True
        reference = await self._taken_by(state, sequence)
        if reference == payment.id:
            # Its own transaction took it, which the record has as dead: no verdict may rest on that.
            raise RpcUnavailableError(
                "the chain shows this payment's own charge, which the record does not",
                payment_id=str(payment.id),
                sequence=sequence,
            )
        logger.warning("sequence %d of %s was taken by %s", sequence, state.address, reference)
        await self._turns.give_up(payment.id, sequence)
        return True

    async def _charge(self, payment_id: UUID, plan: Plan, amount_base_units: int, turn: Turn) -> Instruction:
        merchant = await self._deployment.merchant()
        address = _allowance(plan)
        sequence = turn.sequence
        if sequence is None:
            state = await self._deployment.allowance(address, min_context_slot=turn.landed_slot or None)
            if state is None:
                raise AllowanceError("there is no allowance", problem="missing", allowance=str(address))
            sequence = await self._turns.assign(payment_id, max(state.next_sequence, turn.floor))
        client = await self._deployment.client()
        return client.charge(
            merchant,
            allowance=address,
            token_account=Pubkey.from_string(_required(plan.source)),
            amount_base_units=amount_base_units,
            sequence=sequence,
            reference=payment_id,
        )

    async def _turn(self, payment_id: UUID, plan: Plan) -> Turn:
        delay_seconds = FIRST_LOOK_SECONDS
        while True:
            turn = await self._turns.take(payment_id, str(_allowance(plan)), _required(plan.source))
            if turn is not None:
                return turn
            await self._clock.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, MAX_LOOK_SECONDS)

    async def _vault_reward(self, plan: Plan, amount_base_units: int) -> Instruction:
        merchant = await self._deployment.merchant()
        client = await self._deployment.client()
        if plan.batch_id is None or plan.index is None:
            raise InvalidInputError("the plan names no reward of a batch")
        return client.pay_reward(
            merchant,
            batch_id=UUID(plan.batch_id),
            index=plan.index,
            destination=Pubkey.from_string(_required(plan.destination)),
            amount_base_units=amount_base_units,
        )

    async def _taken_by(self, allowance: AllowanceState, sequence: int) -> UUID:
        """Return whose finalized charge took a sequence, by the events of the allowance's history."""
        client = await self._deployment.client()
        wanted = {"merchant": allowance.merchant, "owner": allowance.owner, "sequence": sequence}
        history = await self._rpc.get_signatures_for_address(allowance.address, limit=MAX_SEARCHED_SIGNATURES)
        for entry in history:
            landed = None if entry.error else await self._rpc.get_transaction(entry.signature)
            for event in client.events(landed.logs) if landed is not None else ():
                if event.name == "Charged" and wanted.items() <= dict(event.fields).items():
                    return UUID(str(event.fields["reference"]))
        raise RpcUnavailableError(
            "no finalized transaction shows who took the sequence yet",
            allowance=str(allowance.address),
            sequence=sequence,
        )


def _allowance(plan: Plan) -> Pubkey:
    return Pubkey.from_string(_required(plan.allowance))


def _required(address: str | None) -> str:
    if address is None:
        raise InvalidInputError("the plan names no account")
    return address
