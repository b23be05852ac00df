"""Clicks on ads: people who browse, people who look like bots, and bots."""

from collections import deque
from typing import Final

import msgspec

from simulation.traffic import SECOND, FraudBudget, Labelled, iso, seeded, whole_milliseconds

WINDOW: Final = 10 * SECOND
_SLOW_GAP: Final = WINDOW // 2  # with one click every half window, no window (t-10s, t] ever holds three
_SLOW_SHARE: Final = 0.02
_SECOND_CLICK_SHARE: Final = 0.15
_BROWSING: Final = 64
_PAGES: Final = tuple(f"https://shop.example/offers/{number}" for number in range(1, 41))
_MOST_CLICKS: Final = 12  # fewer than there are pages, so that nobody who browses comes back to one
_LONG_AGO: Final = -(1 << 62)
_USER_AGENTS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/140.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/138.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/138.0 Mobile",
)
_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")  # RFC 5737: addresses for documentation


class _Visitor:
    """One session, with the times of its last two clicks on each URL: all it takes to know the truth of the next."""

    __slots__ = ("_last_two", "clicks_left", "clicks_on_page", "due", "ip", "page", "session_id", "user_agent")

    def __init__(self, session_id: str, user_agent: str, ip: str, page: int, clicks_left: int) -> None:
        self.session_id = session_id
        self.user_agent = user_agent
        self.ip = ip
        self.page = page
        self.clicks_left = clicks_left
        self.clicks_on_page = 0
        self.due = 0
        self._last_two: dict[str, tuple[int, int]] = {}

    def click(self, url: str, at: int) -> bool:
        """Note a click and tell whether it is at least the third on this URL in (at-10s, at]."""
        last_but_one, last = self._last_two.get(url, (_LONG_AGO, _LONG_AGO))
        self._last_two[url] = (last, at)
        return last_but_one > at - WINDOW


class Clicks:
    """Clicks keyed by session; the third and each further one on a URL within ten seconds is a fraud.

    Stories: `click_burst` (a bot; its first two clicks are harmless by the rule, and labelled so), `browsing`,
    `second_click` (the same URL twice), `slow_clicks` (three to five times, every five seconds or slower).
    Session ids come from the seed: two runs of one seed within ten seconds share sessions, and labels miss that.
    At 0.2 records a second and below no three clicks fit the window: no fraud comes, and ever more clicks are a bot's.
    """

    def __init__(self, seed: int, fraud_share: float) -> None:
        self._rng = seeded(seed)
        self._budget = FraudBudget(self._rng, fraud_share)
        self._bot = self._visitor(clicks_left=0)
        self._slow: deque[_Visitor] = deque()  # by due time: the gap is the same for all
        self._browsing = [self._visitor(self._rng.randint(1, _MOST_CLICKS)) for _ in range(_BROWSING)]

    def __call__(self, at: int) -> Labelled:
        """Give the next click, happening at `at`."""
        at = whole_milliseconds(at)
        if self._budget.due():
            return self._bot_click(at)
        if self._slow and self._slow[0].due <= at:
            return self._slow_click(self._slow.popleft(), at)
        if self._rng.random() < _SLOW_SHARE:
            return self._slow_click(self._visitor(self._rng.randint(3, 5)), at)
        return self._browse(at)

    def _visitor(self, clicks_left: int) -> _Visitor:
        rng = self._rng
        return _Visitor(
            session_id=f"{rng.getrandbits(64):016x}",
            user_agent=rng.choice(_USER_AGENTS),
            ip=f"{rng.choice(_NETWORKS)}.{rng.randint(1, 254)}",
            page=rng.randrange(len(_PAGES)),
            clicks_left=clicks_left,
        )

    def _bot_click(self, at: int) -> Labelled:
        click = _labelled(self._bot, at, "click_burst")
        if click.fraudulent:
            self._budget.paid()
            if not self._budget.paying:
                self._bot = self._visitor(clicks_left=0)
        return click

    def _slow_click(self, visitor: _Visitor, at: int) -> Labelled:
        visitor.clicks_left -= 1
        if visitor.clicks_left:
            visitor.due = at + _SLOW_GAP
            self._slow.append(visitor)
        return _labelled(visitor, at, "slow_clicks")

    def _browse(self, at: int) -> Labelled:
        seat = self._rng.randrange(_BROWSING)
        visitor = self._browsing[seat]
        if not visitor.clicks_left:
            visitor = self._browsing[seat] = self._visitor(self._rng.randint(1, _MOST_CLICKS))
        visitor.clicks_left -= 1
        if visitor.clicks_on_page == 1 and self._rng.random() < _SECOND_CLICK_SHARE:
            visitor.clicks_on_page = 2
            return _labelled(visitor, at, "second_click")
        visitor.page = (visitor.page + 1) % len(_PAGES)
        visitor.clicks_on_page = 1
        return _labelled(visitor, at, "browsing")


def _labelled(visitor: _Visitor, at: int, story: str) -> Labelled:
    url = _PAGES[visitor.page]
    value = {
        "session_id": visitor.session_id,
        "url": url,
        "user_agent": visitor.user_agent,
        "ip": visitor.ip,
        "timestamp": f"{iso(at)}Z",
    }
    return Labelled(
        event="click",
        key=visitor.session_id.encode(),
        value=msgspec.json.encode(value),
        at=at,
        fraudulent=visitor.click(url, at),
        story=story,
    )
