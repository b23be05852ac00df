import asyncio
from itertools import count

from web.live.hub import MOST_BROWSERS, Hub


def numbered() -> Hub:
    numbers = count(1)
    return Hub(lambda: b"%d" % next(numbers), every=0)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_all_browsers_get_the_same_frame_and_a_slow_one_only_the_newest() -> None:
    async def story() -> tuple[list[bytes | None], bytes | None]:
        hub = numbered()
        with hub.subscribe() as quick, hub.subscribe() as slow:
            task = asyncio.create_task(hub.run())
            got = [await quick.take() for _ in range(5)]
            task.cancel()
            return got, await slow.take()

    got, late = asyncio.run(story())
    assert got == [b"1", b"2", b"3", b"4", b"5"]
    assert late == b"5"


def test_nothing_is_made_while_nobody_looks() -> None:
    async def story() -> int:
        made: list[bytes] = []
        hub = Hub(lambda: made.append(b"") or b"", every=0)
        task = asyncio.create_task(hub.run())
        await turns(20)
        task.cancel()
        return len(made)

    assert asyncio.run(story()) == 0


def test_a_closed_hub_ends_all_streams_those_that_come_later_too() -> None:
    async def story() -> list[bytes | None]:
        hub = numbered()
        with hub.subscribe() as before:
            hub.close()
            with hub.subscribe() as after:
                return [await before.take(), await after.take()]

    assert asyncio.run(story()) == [None, None]


def test_it_is_full_at_its_limit_until_one_leaves() -> None:
    hub = numbered()
    subscriptions = [hub.subscribe() for _ in range(MOST_BROWSERS)]
    for subscription in subscriptions:
        assert not hub.full
        subscription.__enter__()
    assert hub.full

    subscriptions[0].__exit__(None, None, None)

    assert not hub.full


def test_a_frame_that_cannot_be_made_is_left_out_and_the_next_one_comes() -> None:
    numbers = count(1)

    def make() -> bytes:
        number = next(numbers)
        if number <= 2:
            msg = f"no frame {number}"
            raise ValueError(msg)
        return b"%d" % number

    async def story() -> bytes | None:
        hub = Hub(make, every=0)
        with hub.subscribe() as slot:
            task = asyncio.create_task(hub.run())
            got = await asyncio.wait_for(slot.take(), 3)
            task.cancel()
            return got

    assert asyncio.run(story()) == b"3"
