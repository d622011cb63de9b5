"""The search itself: groups of blocks in their order, a few weights for each, the best so far kept and never scored again.

Every candidate differs from the best so far in one group of blocks. It is scored on the same prompts and the same noise, on a
few images first, and dropped as soon as it is clearly worse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Literal, Protocol

from afa_bench.errors import UserError
from afa_bench.identity import fingerprint
from afa_bench.search.log import Log
from afa_bench.search.space import Row, Stage, Weights, same

Verdict = Literal["start", "better", "not better", "dropped", "unfinished"]


class Judge(Protocol):
    """Who merges and scores."""

    def merge(self, weights: Weights) -> None:
        """Make these weights the model to score."""

    def score(self, first: int, last: int) -> list[float]:
        """The model's scores on the images ``first`` to ``last - 1``; higher is better, equal models get equal scores."""


@dataclass(frozen=True)
class Rules:
    """How candidates are compared.

    Attributes:
        images: how many images a candidate has been scored on when it is looked at; all of them at the end.
        clearly: how many standard errors below the best so far a candidate's mean must be to be dropped before the end.
        sweeps: over all groups at most; it ends before, after one in which nothing was better.
    """

    images: tuple[int, ...] = (2, 4, 8)
    clearly: float = 2.0
    sweeps: int = 3


@dataclass(frozen=True)
class Budget:
    """Hard limits: what would go beyond one is not begun."""

    merges: int | None = None
    images: int | None = None
    seconds: float | None = None


@dataclass
class Spent:
    """What a search has cost, all its parts together if it was interrupted."""

    merges: int = 0
    images: int = 0
    seconds: float = 0.0

    def refuses(self, budget: Budget, images: int, merges: int = 0) -> str | None:
        """Which limit so many more would break."""
        if budget.merges is not None and self.merges + merges > budget.merges:
            return f"the budget of {budget.merges} merges"
        if budget.images is not None and self.images + images > budget.images:
            return f"the budget of {budget.images} images"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return f"the budget of {budget.seconds:g} seconds"
        return None


@dataclass(frozen=True)
class Candidate:
    """Weights and what they are worth: a score for each image so far."""

    weights: Weights
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of its scores."""
        return fmean(self.scores)


@dataclass(frozen=True)
class Found:
    """What a search ends with.

    Attributes:
        first, best: what it began with, and the best.
        reason: why it ended.
        spent: what it cost.
    """

    first: Candidate
    best: Candidate
    reason: str
    spent: Spent


class _OverBudgetError(Exception):
    """A limit would be broken."""


@dataclass
class Search:
    """A search, run once.

    Attributes:
        judge: who merges and scores.
        groups: blocks which move together, in order.
        stages: what is tried.
        rules: how candidates are compared.
        budget: what it may cost.
        log: which has, after a kill, what was done before: that is taken from it and not done again.
        report: told each candidate's line, as it stands in the log.
    """

    judge: Judge
    groups: Sequence[tuple[str, ...]]
    stages: Sequence[Stage]
    rules: Rules
    budget: Budget
    log: Log
    report: Callable[[Mapping[str, Any]], None] = lambda line: None
    spent: Spent = field(default_factory=Spent)
    _best: Candidate | None = field(default=None, init=False)
    _tried: set[str] = field(default_factory=set, init=False)

    @property
    def begun(self) -> bool:
        """Whether there is a best so far."""
        return self._best is not None

    @property
    def best(self) -> Candidate:
        """The best so far; there is one as soon as the first candidate has been scored."""
        assert self._best is not None
        return self._best

    def run(self, weights: Weights) -> Found:
        """Search from these weights.

        Raises:
            UserError: the budget does not even allow to score them.
        """
        self._mark = time.monotonic()
        try:
            self._try({"stage": "start"}, weights)
        except _OverBudgetError as limit:
            raise UserError(f"search: {limit} does not allow {self.rules.images[-1]} images of the first candidate") from None
        first = self.best
        try:
            reason = self._stages()
        except _OverBudgetError as limit:
            reason = str(limit)
        return Found(first, self.best, reason, self.spent)

    def _stages(self) -> str:
        reason = ""
        for stage in self.stages:
            before = dict(self.best.weights)
            for sweep in range(1, self.rules.sweeps + 1):
                value = self.best.mean
                for group in self.groups:
                    self._sweep_group(stage, sweep, group, before[group[0]])
                reason = f"the limit of sweeps ({self.rules.sweeps})"
                if self.best.mean <= value:
                    reason = f"sweep {sweep} found nothing better"
                    break
        return reason

    def _sweep_group(self, stage: Stage, sweep: int, group: tuple[str, ...], before: Row) -> None:
        for grid in stage.rounds(before):
            for row in grid(self.best.weights[group[0]]):
                if not same(row, self.best.weights[group[0]]):
                    about = {"stage": stage.title, "sweep": sweep, "group": "+".join(group), "row": row}
                    self._try(about, {**self.best.weights, **dict.fromkeys(group, row)})

    def _try(self, about: Mapping[str, Any], weights: Weights) -> None:
        """Score a candidate; it becomes the best so far if its mean is higher (not if it is the same: ties end)."""
        key = fingerprint(dict(weights))[:16]
        if key in self._tried:
            return  # it lost against a candidate that was no better than today's
        known = self.log.entries.get(key)
        if known is None:
            self._require(self.rules.images[0], merges=1)
        self._tried.add(key)
        self.spent.merges += 1
        scores, verdict = self._race(weights, list(known["scores"]) if known else [])
        if verdict in ("start", "better"):
            self._best = Candidate(weights, scores)
        now = time.monotonic()
        done_before = known is not None and known["verdict"] == verdict
        seconds = (known["seconds"] if known else 0.0) + (0.0 if done_before else now - self._mark)
        self.spent.seconds, self._mark = self.spent.seconds + seconds, now
        line = {"id": key, **about, "scores": scores, "verdict": verdict, "best": self._best.mean if self._best else None}
        line |= {"merges": self.spent.merges, "images": self.spent.images, "seconds": round(seconds, 3)}
        if not done_before:
            self.log.write(line)
        self.report(line)
        if verdict == "unfinished":
            self._require(min(count for count in self.rules.images if count > len(scores)) - len(scores))

    def _race(self, weights: Weights, scores: list[float]) -> tuple[tuple[float, ...], Verdict]:
        """Score on more and more images, after the ``scores`` that are known."""
        self.spent.images += len(scores)
        merged = False
        for count in self.rules.images:
            if len(scores) < count:
                if self._refused(count - len(scores)):
                    return tuple(scores), "unfinished"
                if not merged:
                    self.judge.merge(weights)
                    merged = True
                self.spent.images += count - len(scores)
                scores += self.judge.score(len(scores), count)
            if self._best is not None and count < self.rules.images[-1] and self._worse(scores[:count]):
                return tuple(scores), "dropped"
        if self._best is None:
            return tuple(scores), "start"
        return tuple(scores), "better" if fmean(scores) > self._best.mean else "not better"

    def _refused(self, images: int, merges: int = 0) -> str | None:
        return replace(self.spent, seconds=self.spent.seconds + time.monotonic() - self._mark).refuses(
            self.budget, images, merges
        )

    def _require(self, images: int, merges: int = 0) -> None:
        limit = self._refused(images, merges)
        if limit:
            raise _OverBudgetError(limit)

    def _worse(self, scores: Sequence[float]) -> bool:
        """Whether the paired differences to the best so far are clearly negative."""
        found = [mine - theirs for mine, theirs in zip(scores, self.best.scores, strict=False)]
        error = stdev(found) / sqrt(len(found)) if len(found) > 1 else 0.0
        return fmean(found) < -self.rules.clearly * error
