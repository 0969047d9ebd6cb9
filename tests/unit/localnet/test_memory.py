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
        gc.unfreeze()
        gc.set_threshold(*thresholds)
