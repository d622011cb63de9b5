"""A decision as files: ``gate.json`` for programs, ``summary.md`` for people, ``junit.xml`` for CI."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from afa_bench.gate.model import FAILING, OPEN, Finding
from afa_bench.gate.text import HEADS, reasons, row, sentence
from afa_bench.gate.verdicts import Decision
from afa_bench.markup import markdown as escape
from afa_bench.store.atomic import write_bytes
from afa_bench.store.layout import SCHEMA
from afa_bench.words import line


def write_files(decision: Decision, folder: Path) -> None:
    """Write all three.

    Raises:
        UserError: the folder cannot be written.
    """
    write_bytes(folder / "gate.json", (json.dumps(as_json(decision), indent=1, allow_nan=False) + "\n").encode())
    write_bytes(folder / "summary.md", markdown(decision).encode())
    write_bytes(folder / "junit.xml", junit(decision))


def as_json(decision: Decision) -> dict[str, Any]:
    """All that is known of a decision, in full precision."""
    return {
        "schema": SCHEMA,
        "suite": decision.suite,
        "revision": decision.revision,
        "base": decision.base,
        "head": decision.head,
        "about": decision.about,
        "policy": decision.policy.model_dump(mode="json"),
        "strict": decision.strict,
        "exit_code": decision.code,
        "headline": decision.headline,
        "counts": dict(decision.counts),
        "findings": [finding_json(finding) for finding in decision.findings],
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """One finding; null stands for what there is none of."""
    comparison = finding.comparison
    cell, metric = comparison.cell, comparison.metric
    gap = comparison.evidence.difference if comparison.evidence else None
    return {
        "group": cell.group,
        "method": cell.method,
        "label": cell.label,
        "task": cell.task,
        "steps": cell.steps,
        "metric": metric.key,
        "title": metric.title,
        "kind": metric.kind,
        "direction": metric.direction,
        "verdict": finding.verdict,
        "reason": finding.words,
        "base": comparison.base,
        "head": comparison.head,
        "better_by": _finite(gap.value if gap else None),
        "low": _finite(gap.low if gap else None),
        "high": _finite(gap.high if gap else None),
        "pairs": gap.n if gap else 0,
        "win_rate": _finite(gap.win_rate if gap else None),
        "margin": finding.margin,
        "p_holm": finding.p,
    }


def markdown(decision: Decision) -> str:
    """The headline, what needs attention, everything in a fold, and the policy."""
    parts = [f"### {escape(decision.headline)}", escape(f"{decision.about}.")]
    urgent = [finding for finding in decision.findings if finding.verdict in FAILING | OPEN]
    if urgent:
        parts.append(markdown_table(urgent))
    parts += ["\n".join(f"- {escape(reason)}" for reason in reasons(decision.findings))] if urgent else []
    if decision.findings:
        heading = f"<details><summary>All {len(decision.findings)} findings</summary>"
        parts += [heading, markdown_table(decision.findings), "</details>"]
    policy = "".join(f"    {line}\n" for line in decision.policy.text().splitlines()).rstrip()
    parts += [
        "Better by: the mean paired difference HEAD - BASE, turned so that positive is better, with its "
        f"{100 * (1 - decision.policy.alpha):g}% interval.",
        f"Policy{', strict' if decision.strict else ''}:",
        policy,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def markdown_table(findings: Sequence[Finding]) -> str:
    """Findings as a table of GitHub's Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", "| :-- | :-- | --: | --: | --: | --: | :-- |"]
    return "\n".join([*lines, *(f"| {' | '.join(map(escape, row(finding)))} |" for finding in findings)])


def junit(decision: Decision) -> bytes:
    """A test case a finding: what fails the gate is a failure, what is open or new is skipped (a failure, under ``--strict``)."""
    suite = ET.Element("testsuite", name=line(f"afa-bench gate {decision.suite}"), tests=str(len(decision.findings)))
    failures = skipped = 0
    for finding in decision.findings:
        cell, metric = finding.comparison.cell, finding.comparison.metric
        steps = "" if cell.steps is None else f" at {cell.steps} steps"
        name = line(f"{metric.key}{steps}")
        case = ET.SubElement(suite, "testcase", classname=line(f"{cell.group}.{cell.label}"), name=name, time="0")
        reason = sentence(finding)
        if finding.verdict in FAILING or (decision.strict and finding.verdict in OPEN):
            failures += 1
            ET.SubElement(case, "failure", type=finding.verdict, message=f"{finding.verdict}: {reason}").text = reason
        elif finding.comparison.trouble is not None or finding.verdict in OPEN:
            skipped += 1
            ET.SubElement(case, "skipped", message=f"{finding.verdict}: {reason}")
        else:
            ET.SubElement(case, "system-out").text = f"{finding.verdict}: {reason}"
    suite.set("failures", str(failures))
    suite.set("skipped", str(skipped))
    suite.set("errors", "0")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root, " ")
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
