import pytest
from solders.hash import Hash

from deal_localnet import LocalnetConfig
from deal_localnet.genesis import first_blocks, next_block
from deal_localnet.slots import Chain, Commitment

CONFIG = LocalnetConfig(auto_advance=False, wall_clock=lambda: 0.0)
LIFETIME = 150


def grown(blocks: int, finality_slots: int = 32) -> Chain:
    chain = Chain(
        first_blocks(b"seed", CONFIG), confirm_slots=1, finality_slots=finality_slots, lifetime=LIFETIME
    )
    for _ in range(blocks):
        chain.append(next_block(chain.open, CONFIG))
    return chain


def test_each_level_trails_the_open_slot() -> None:
    chain = grown(99)
    assert chain.slot_at(Commitment.PROCESSED) == 100
    assert chain.slot_at(Commitment.CONFIRMED) == 99
    assert chain.slot_at(Commitment.FINALIZED) == 68


def test_a_young_chain_is_final_at_genesis_only() -> None:
    chain = grown(0)
    assert [chain.slot_at(level) for level in Commitment] == [1, 0, 0]


@pytest.mark.parametrize(
    ("slot", "level"),
    [
        (68, Commitment.FINALIZED),
        (69, Commitment.CONFIRMED),
        (99, Commitment.CONFIRMED),
        (100, Commitment.PROCESSED),
    ],
)
def test_a_slot_knows_its_level(slot: int, level: Commitment) -> None:
    assert grown(99).commitment_of(slot) is level


def test_a_blockhash_lives_exactly_its_lifetime() -> None:
    chain = grown(9)
    blockhash, height = chain.open.blockhash, chain.open.height
    while chain.open.height < height + LIFETIME:
        chain.append(next_block(chain.open, CONFIG))
    assert chain.is_blockhash_valid(blockhash, Commitment.PROCESSED)
    chain.append(next_block(chain.open, CONFIG))
    assert not chain.is_blockhash_valid(blockhash, Commitment.PROCESSED)


def test_an_older_bank_does_not_know_a_newer_blockhash() -> None:
    chain = grown(50)
    newest = chain.open.blockhash
    assert chain.is_blockhash_valid(newest, Commitment.PROCESSED)
    assert not chain.is_blockhash_valid(newest, Commitment.CONFIRMED)
    assert not chain.is_blockhash_valid(Hash.default(), Commitment.PROCESSED)


def test_dropped_slots_stay_skipped() -> None:
    chain = grown(49)
    dropped = chain.drop_above(45)
    chain.append(next_block(chain.open, CONFIG, dropped[-1].slot + 1))
    assert [block.slot for block in dropped] == [46, 47, 48, 49, 50]
    assert chain.open.slot == 51
    assert chain.open.height == 46
    assert chain.open.parent_slot == 45
    assert chain.block_of_slot(48) is None
    assert chain.slots_between(44, 60) == [44, 45, 51]
    assert chain.is_blockhash_valid(dropped[0].blockhash, Commitment.PROCESSED) is False


def test_a_final_slot_cannot_be_dropped() -> None:
    chain = grown(99)
    with pytest.raises(ValueError, match="below the finalized slot"):
        chain.drop_above(67)


def test_forgotten_blockhashes_do_not_pile_up() -> None:
    chain = grown(1_000)
    assert (
        sum(chain.blockhash_height(block.blockhash) is not None for block in chain.last_blocks(1_001)) < 200
    )


@pytest.mark.parametrize(("slot_seconds", "blocks"), [(0.4, 150), (0.05, 200), (0.01, 1_000)])
def test_fast_slots_keep_a_blockhash_for_ten_seconds(slot_seconds: float, blocks: int) -> None:
    assert LocalnetConfig(slot_seconds=slot_seconds).blockhash_lifetime_blocks == blocks


@pytest.mark.parametrize("wrong", [{"slot_seconds": 0.0}, {"confirm_slots": 9, "finality_slots": 8}])
def test_impossible_configurations_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        LocalnetConfig(**wrong)  # type: ignore[arg-type]
