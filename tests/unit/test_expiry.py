"""What takes too long is told so, once, on its own event loop; what is taken out in time is not."""

import asyncio
import threading

import pytest

from ddlwa.expiry import Expiry

LIMIT_S = 0.05


class One:
    """Something that may take too long."""

    def __init__(self):
        self.expired_s = []
        self.threads = []

    def expire(self):
        self.expired_s.append(asyncio.get_running_loop().time())
        self.threads.append(threading.current_thread())


def test_expires_once_and_not_before_its_time():
    """Each has the whole limit for itself, however many are watched with the same timer."""

    async def main():
        watch = Expiry(LIMIT_S).watch()
        ones, begun_s = [], []
        for _ in range(5):
            ones.append(One())
            begun_s.append(asyncio.get_running_loop().time())
            watch.add(ones[-1])
            await asyncio.sleep(LIMIT_S / 3)
        await asyncio.sleep(LIMIT_S * 4)
        for one, begun in zip(ones, begun_s, strict=True):
            (expired,) = one.expired_s
            assert LIMIT_S - 0.002 <= expired - begun < LIMIT_S * 3

    asyncio.run(main())


def test_what_is_taken_out_does_not_expire():
    """Nor does it keep another from expiring, nor does it matter if it has expired already."""

    async def main():
        watch = Expiry(LIMIT_S).watch()
        quick, slow = One(), One()
        watch.add(quick)
        watch.add(slow)
        watch.discard(quick)
        await asyncio.sleep(LIMIT_S * 3)
        watch.discard(slow)
        assert (len(quick.expired_s), len(slow.expired_s)) == (0, 1)

    asyncio.run(main())


def test_many_that_are_quick_share_a_timer(monkeypatch):
    """A thousand that are taken out in time cost the loop two timers, and nothing once they are over."""

    async def main():
        loop = asyncio.get_running_loop()
        timers = []
        call_at = loop.call_at
        # asyncio's call_later calls it, too.
        monkeypatch.setattr(
            loop, "call_at", lambda *args, **kwargs: (timers.append(args), call_at(*args, **kwargs))[1]
        )
        watch = Expiry(LIMIT_S).watch()
        for batch in (0, 1):
            for _ in range(500):
                one = One()
                watch.add(one)
                watch.discard(one)
            await asyncio.sleep(LIMIT_S * 3)
            assert len([timer for timer in timers if timer[1] == watch._look]) == batch + 1

    asyncio.run(main())


@pytest.mark.parametrize("at_once", [False, True])
def test_each_loop_has_its_own(at_once):
    """Loops in threads of their own, or one after the other, tell their own."""
    expiry = Expiry(LIMIT_S)
    ones = [One() for _ in range(3)]

    async def main(one):
        expiry.watch().add(one)
        assert expiry.watch() is expiry.watch()
        await asyncio.sleep(LIMIT_S * 3)

    threads = [threading.Thread(target=lambda one=one: asyncio.run(main(one))) for one in ones]
    for thread in threads:
        thread.start()
        if not at_once:
            thread.join()
    for thread in threads:
        thread.join()
    assert [one.threads for one in ones] == [[thread] for thread in threads]


def test_a_loop_that_is_replaced():
    """A loop that follows another in the same thread does not inherit its timer."""
    expiry = Expiry(LIMIT_S)
    left, one = One(), One()

    async def leave():
        expiry.watch().add(left)

    async def stay():
        expiry.watch().add(one)
        await asyncio.sleep(LIMIT_S * 3)

    asyncio.run(leave())
    asyncio.run(stay())
    assert (len(left.expired_s), len(one.expired_s)) == (0, 1)
