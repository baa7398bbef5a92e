"""
One may be alone in a process, and holds up the others no longer than it must.
"""

import asyncio

import pytest

from fraudstream.fleet.company import Company
from tests.support.wait import wait_until


async def hold(company: Company, until: asyncio.Event, at_work: list[str], name: str) -> None:
    async with company.beside():
        at_work.append(name)
        await until.wait()
        at_work.remove(name)


async def test_any_number_work_beside_each_other() -> None:
    company, until, at_work = Company(), asyncio.Event(), list[str]()

    tasks = [asyncio.create_task(hold(company, until, at_work, str(number))) for number in range(5)]
    await wait_until(lambda: len(at_work) == 5, "all of them are at work")
    until.set()
    await asyncio.gather(*tasks)

    assert at_work == []


async def test_whoever_is_alone_waited_for_those_at_work_and_nobody_begins_meanwhile() -> None:
    # given: one at work, one that wants to be alone, and one that comes after it
    company, first_over, at_work = Company(patience_s=60.0), asyncio.Event(), list[str]()
    first = asyncio.create_task(hold(company, first_over, at_work, "first"))
    await wait_until(lambda: at_work, "the first is at work")
    seen: list[tuple[bool, list[str]]] = []

    async def alone() -> None:
        async with company.alone() as is_alone:
            for _ in range(10):
                await asyncio.sleep(0)
            seen.append((is_alone, [*at_work]))

    lonely = asyncio.create_task(alone())
    await asyncio.sleep(0)
    done = asyncio.Event()
    done.set()
    late = asyncio.create_task(hold(company, done, at_work, "late"))

    # when
    await asyncio.sleep(0)
    before = [*at_work], [*seen]
    first_over.set()
    await asyncio.gather(first, lonely, late)

    # then
    assert before == (["first"], [])
    assert seen == [(True, [])]


async def test_two_that_want_to_be_alone_are_so_one_after_the_other() -> None:
    company, inside = Company(), list[int]()

    async def alone(number: int) -> int:
        async with company.alone() as is_alone:
            assert is_alone
            inside.append(number)
            await asyncio.sleep(0.001)
            return len([inside.remove(number)]) + len(inside)

    assert await asyncio.gather(*map(alone, range(4))) == [1, 1, 1, 1]


async def test_work_that_does_not_end_is_waited_for_no_longer_than_the_patience_and_then_nobody_is_alone() -> None:
    company, until, at_work = Company(patience_s=0.01), asyncio.Event(), list[str]()
    hung = asyncio.create_task(hold(company, until, at_work, "hung"))
    await wait_until(lambda: at_work, "it hangs")

    async with company.alone() as is_alone:
        async with asyncio.timeout(60), company.beside():
            together = [*at_work]
        assert not is_alone
    until.set()
    await hung

    assert together == ["hung"]


async def test_an_error_of_whoever_is_alone_lets_the_others_in() -> None:
    company = Company()

    with pytest.raises(ValueError, match="by chance"):
        async with company.alone():
            raise ValueError("by chance")

    async with asyncio.timeout(60), company.beside():
        pass
