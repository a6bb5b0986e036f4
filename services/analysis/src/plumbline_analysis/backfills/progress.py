"""Where a backfill goes on after a step, as the bytes of a job's checkpoint. Pure."""

import base64
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from plumbline_analysis.backfills.schemas import BackfilledSignal
from plumbline_analysis.detection.alarm import QUIET, Alarm


@dataclass(frozen=True)
class InHand:
    """The signal that is being judged: from `start` to `end`, as far as `reached`. Microseconds since the epoch.

    Before `start` the engine only learns. `alarm` is as it stands at `reached`, `is_news` whether it opened where no
    detector had judged. `state` is the engine's.
    """

    start: int
    end: int
    reached: int
    state: bytes | None = None
    alarm: Alarm = QUIET
    is_news: bool = False
    slices: int = 0
    scored: int = 0
    anomalies: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Place:
    """The signals that are over, in their order, and the next one as far as it is judged."""

    done: tuple[BackfilledSignal, ...] = ()
    in_hand: InHand | None = None

    def after(self, signal: BackfilledSignal) -> "Place":
        return Place((*self.done, signal))

    def to_bytes(self) -> bytes:
        return orjson.dumps(
            {
                "done": [each.model_dump(mode="json") for each in self.done],
                "in_hand": None if self.in_hand is None else _to_json(self.in_hand),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes | None) -> "Place":
        """None is the beginning."""
        if data is None:
            return cls()
        told = orjson.loads(data)
        done = tuple(BackfilledSignal.model_validate(each) for each in told["done"])
        return cls(done, None if told["in_hand"] is None else _from_json(told["in_hand"]))


def _to_json(in_hand: InHand) -> dict[str, Any]:
    members = asdict(replace(in_hand, alarm=QUIET, state=None))
    state = None if in_hand.state is None else base64.b64encode(in_hand.state).decode()
    return members | {"state": state, "alarm": in_hand.alarm.to_json()}


def _from_json(told: dict[str, Any]) -> InHand:
    state = None if told["state"] is None else base64.b64decode(told["state"])
    return InHand(**(told | {"state": state, "alarm": Alarm.from_json(told["alarm"])}))
