"""What running a program leaves behind in the process."""

import numpy
from solders.instruction import Instruction

from deal_localnet.addresses import MEMO_PROGRAM
from tests.unit.localnet.support import Driver


async def test_a_program_leaves_the_callers_figures_alone(driver: Driver) -> None:
    memo = Instruction(MEMO_PROGRAM, b"hello", [])
    await driver.run(memo)
    figures = [float(numpy.longdouble(7.5) / numpy.longdouble(2)) for _ in range(8)]
    assert figures == [3.75] * 8
