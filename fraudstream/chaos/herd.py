"""
The workers of a run: born from the nursery, watched, born again whenever they die.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.chaos.worker import UNREACHABLE, Orders, Traps
from fraudstream.domain.errors import ConfigurationError
from fraudstream.settings import Settings

#: Longest time from birth to the first read, in seconds, however busy the machine.
_BIRTH_S = 60.0
#: How many workers may end before they read anything, though nobody killed them.
_STILLBORN = 5
#: How many may end by themselves at all before a run is given up.
_UNEXPECTED = 50
#: Longest time of a drain, in seconds.
_DRAIN_S = 30.0


class Animal:
    """
    One place in the fleet, and the process that fills it now.
    """

    def __init__(self, group: str, number: int) -> None:
        self.group = group
        self.serves = frozenset(Settings(consumer_group=group).groups)
        self.place = f"{group}-{number}"
        self.births = 0
        self.name = ""
        self.pid = 0
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.stopped = False
        self.wanted = True
        self.told_to_stop = False
        self.traps = Traps()

    def kill(self, number: int) -> bool:
        """
        Send a signal; False when there is nobody.
        """
        if self.ended.is_set() or not self.pid:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


class Herd:
    """
    All workers, with what they told about themselves.

    Args:
        folder: Where logs, traps and notes of alerts are kept.
        environment: Settings of a worker, asked for at each birth.
        groups: One worker per entry.
        control: Name of the negative control that all of them run with, or nothing.
        on_event: Told every event.
    """

    def __init__(
        self,
        folder: Path,
        environment: Callable[[str], Mapping[str, str]],
        groups: Sequence[str],
        control: str,
        on_event: Callable[["Animal", Mapping[str, Any]], None],
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._control = control
        self._on_event = on_event
        self.animals = [Animal(group, number) for number, group in enumerate(groups)]
        self.unexpected: list[str] = []
        self.crashed: Counter[str] = Counter()
        self.fenced = 0
        self.together = 0
        self.stillborn = 0
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._by_name: dict[str, Animal] = {}
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """
        Start the nursery and the whole herd.
        """
        self._process = await asyncio.to_thread(self._nursery)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout)
        self._listening = asyncio.create_task(self._listen(reader))
        for animal in self.animals:
            self._bear(animal)
        await self.all_ready()

    def _nursery(self) -> subprocess.Popen[bytes]:
        with (self._folder / "nursery.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "fraudstream.chaos.nursery"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def all_ready(self) -> None:
        """
        Wait until every wanted worker reads.

        Raises:
            ConfigurationError: One does not come up; the text says where its log is.
        """
        until = time.monotonic() + _BIRTH_S
        while waiting := [animal.name for animal in self.animals if animal.wanted and not animal.ready.is_set()]:
            self.check()
            if time.monotonic() > until:
                raise ConfigurationError(f"{', '.join(waiting)} did not start; their logs are in {self._folder}")
            await asyncio.sleep(0.02)

    def check(self) -> None:
        """
        Look whether workers come up at all.

        Raises:
            ConfigurationError: Several ended before they read anything; the text quotes the last.
        """
        assert self._listening is not None
        if self._listening.done():
            self._listening.result()
            raise ConfigurationError(f"the process that bears workers has ended; see {self._folder / 'nursery.log'}")
        if self.stillborn > _STILLBORN or len(self.unexpected) > _UNEXPECTED:
            raise ConfigurationError(f"workers end by themselves: {self.unexpected[-1]}")

    def _bear(self, animal: Animal) -> None:
        animal.births += 1
        animal.name = f"{animal.place}-{animal.births}"
        animal.pid = 0
        animal.ready, animal.ended = asyncio.Event(), asyncio.Event()
        animal.stopped = animal.told_to_stop = False
        animal.traps = Traps()
        self._by_name[animal.name] = animal
        orders = Orders(
            name=animal.name,
            environment=dict(self._environment(animal.group)),
            folder=str(self._folder),
            control=self._control,
        )
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(orders) + b"\n")
        self._process.stdin.flush()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._heard(msgspec.json.decode(line))

    def _heard(self, event: Mapping[str, Any]) -> None:
        animal = self._by_name[event["name"]]
        match event["event"]:
            case "born":
                animal.pid = event["pid"]
            case "ready":
                animal.ready.set()
            case "crashed":
                self.crashed[event["point"]] += 1
            case "stopping":
                animal.traps = Traps(animal.traps.die, animal.traps.stop - {event["point"]})
            case "fenced":
                self.fenced += int(event["entries"])
            case "together":
                self.together += int(event["entries"])
            case "ended":
                self._ended(animal, event["status"])
        self._on_event(animal, event)

    def _ended(self, animal: Animal, status: int) -> None:
        animal.ended.set()
        expected = (
            {-signal.SIGKILL} | ({0} if animal.told_to_stop else set()) | (set() if animal.ready.is_set() else {UNREACHABLE})
        )
        if status not in expected:
            self.stillborn += not animal.ready.is_set()
            self.unexpected.append(f"{animal.name} ended with {status}: {self._last_words(animal.name)}")
        if animal.wanted and not self._closing:
            self._bear(animal)

    def _last_words(self, name: str) -> str:
        log = self._folder / f"{name}.log"
        return log.read_text(errors="replace")[-400:].strip() if log.exists() else ""

    def revive(self, animal: Animal) -> None:
        """
        Want a worker again that was not.
        """
        animal.wanted = True
        if animal.ended.is_set():
            self._bear(animal)

    def working(self, *groups: str) -> list[Animal]:
        """
        Return the workers that read now, of these groups or of all.
        """
        return [
            one
            for one in self.animals
            if one.ready.is_set() and not one.ended.is_set() and not one.stopped and (not groups or one.serves & {*groups})
        ]

    def turns(self) -> list[list[Animal]]:
        """
        Return all places in turns that hold no group twice.
        """
        numbers: Counter[str] = Counter()
        turns: dict[int, list[Animal]] = defaultdict(list)
        for animal in self.animals:
            turn = max(numbers[group] for group in animal.serves)
            turns[turn].append(animal)
            for group in animal.serves:
                numbers[group] = turn + 1
        return list(turns.values())

    def trap(self, animal: Animal, *, die: Iterable[str] = (), stop: Iterable[str] = ()) -> bool:
        """
        Have a worker die or stop at the next pass of labelled places, beside those that it was told of; False when it is gone.
        """
        animal.traps = Traps(animal.traps.die.union(die), animal.traps.stop.union(stop))
        path = self._folder / f"{animal.name}.trap"
        partial = path.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(animal.traps))
        partial.replace(path)
        return animal.kill(signal.SIGUSR1)

    def disarm(self) -> None:
        """
        Take all traps away.
        """
        for animal in self.working():
            animal.traps = Traps()
            self.trap(animal)

    async def stop(self, animal: Animal) -> bool:
        """
        Let one worker drain (SIGTERM); False when it had to be killed because it did not end.
        """
        ended = animal.ended
        animal.told_to_stop = True
        animal.kill(signal.SIGCONT)
        if not animal.kill(signal.SIGTERM):
            return True
        try:
            await asyncio.wait_for(ended.wait(), _DRAIN_S)
        except TimeoutError:
            self.unexpected.append(f"{animal.name} did not drain within {_DRAIN_S:.0f} s")
            animal.kill(signal.SIGKILL)
            await ended.wait()
            return False
        return True

    async def dismiss(self) -> None:
        """
        Let everybody drain, for good.
        """
        for animal in self.animals:
            animal.wanted = False
        await asyncio.gather(*(self.stop(animal) for animal in self.animals))

    async def close(self) -> None:
        """
        Take away whoever is left, and the nursery.
        """
        self._closing = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await asyncio.to_thread(self._process.wait)
        if self._listening is not None:
            await self._listening

    def alerts(self) -> Counter[str]:
        """
        Return how often each transaction was told of.
        """
        lines = (line for path in self._folder.glob("*.alerts") for line in path.read_bytes().splitlines())
        return Counter(msgspec.json.decode(line, type=str) for line in lines)


async def sleep_until(at_s: float) -> None:
    """
    Sleep until a time of ``time.monotonic``.
    """
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
