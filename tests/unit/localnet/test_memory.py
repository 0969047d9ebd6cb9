import gc
import platform

from deal_localnet import memory


def test_glibc_is_told_to_keep_what_is_freed():
    assert memory.keep_memory() == (platform.libc_ver()[0] == "glibc")


def test_what_is_there_already_is_left_out_of_collections():
    thresholds = gc.get_threshold()
    try:
        memory.collect_rarely()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == memory.COLLECT_AFTER_OBJECTS
    finally:
        gc.callbacks.remove(memory._leave_survivors_out)
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_what_a_full_collection_leaves_is_left_out_of_the_next():
    thresholds = gc.get_threshold()
    try:
        memory.collect_rarely()
        memory.collect_rarely()
        assert gc.callbacks.count(memory._leave_survivors_out) == 1
        kept = [[number] for number in range(1_000)]
        frozen = gc.get_freeze_count()
        gc.collect(1)
        assert gc.get_freeze_count() == frozen
        gc.collect()
        assert gc.get_freeze_count() >= frozen + len(kept)
    finally:
        gc.callbacks.remove(memory._leave_survivors_out)
        gc.unfreeze()
        gc.set_threshold(*thresholds)
