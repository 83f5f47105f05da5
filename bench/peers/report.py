# SPDX-License-Identifier: MIT
"""Figures as Markdown tables: median (least–most) of the rounds."""
import statistics

from .outage import FAULTS, FIRST, OVER
from .programs import PEERS


def spread(values, digits=1):
    """12.1 (10.7–14.3)"""
    values = list(values)
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def by_workload(figures, cell):
    peers = list(next(iter(figures.values())))
    return table(["workload"] + [PEERS[p].title for p in peers], [[w] + [cell(rows, p) for p in peers] for w, rows in figures.items()])


def cpu_text(figures, title):
    def ratio(rows, peer):
        return spread((own[0] / other[0] for own, other in zip(rows["firebreak"], rows[peer]) if other[0]), 2)

    text = f"CPU microseconds per request, {title}:\n\n" + by_workload(figures, lambda rows, p: spread(c for c, _ in rows[p]))
    text += "\nRequests/s (closed loop; the proxy, or the load beside it, is the limit):\n\n" + by_workload(figures, lambda rows, p: spread((r for _, r in rows[p]), 0))
    if all("firebreak" in rows for rows in figures.values()):
        text += "\nFirebreak's CPU time divided by the peer's, round by round:\n\n" + by_workload(figures, ratio)
    return text


def latency_text(figures, rate):
    head = ["peer", "p50 ms", "p99 ms", "p99.9 ms", "worst ms", "failed", "generator late p99 ms"]
    return (f"Latency from the intended time, {rate} requests/s (Poisson) over TLS, small GET:\n\n"
            + table(head, [[PEERS[p].title] + [spread((r[k] for r in rows), 2) for k in ("p50", "p99", "p999", "max")]
                           + [spread((r["failed"] for r in rows), 0), spread((r["late"] for r in rows), 2)] for p, rows in figures.items()]))


def idle_text(figures, count):
    return (f"Private memory per idle connection that did one request, KiB ({count} of each kind, fresh process, measured once):\n\n"
            + table(["peer", "TLS", "cleartext"], [[PEERS[p].title] + [f"{row[k] / 1024:.1f}" for k in ("tls", "h2c")] for p, row in figures.items()]))


OUTAGE = (("errors", "errors", 0), ("slow", "slow", 0), ("worst ms", "worst_ms", 0), ("longest gap ms", "gap_ms", 0),
          ("recovered after s", "recover_s", 1))
BACK = (("errors after the return", "back_errors", 0), ("slow", "back_slow", 0), ("answers again after s", "first_s", 1),
        ("90 % of its share after s", "full_s", 1), ("above the ramp, points", "above_points", 0))
FLAP = (("transitions of traffic", "transitions", 0),)
LATE = (("generator late p99 ms", "late_ms", 1),)


def cell(rows, key, digits):
    values = [r[key] for r in rows if r[key] is not None]
    return spread(values, digits) if values else "never"


def outage_text(cases, rounds, slow):
    text = (f"Two datacenters, one is lost under load; half GET, half POST with an idempotency key, all safe to try again. Errors seen by clients, answers\n"
            f"slower than {slow} ms (from the intended time), recovery until the last of either after the loss; rounds: {rounds}.\n")
    for c in cases:
        fault = FAULTS[c["fault"]]
        columns = OUTAGE + (BACK if fault.back else FLAP if len(fault.lost) > 1 else ()) + LATE
        text += f"\nThe datacenter {fault.title}; {c['rate']} requests/s, backends that take {c['latency_ms']:g} ms:\n\n"
        text += table(["peer"] + [title for title, _, _ in columns],
                      [[PEERS[p].title] + [cell(rows, k, digits) for _, k, digits in columns] for p, rows in c["figures"].items()])
        if fault.back:
            text += (f"\nThe ramp: {100 * FIRST:g} % of its normal share at once, with its first answer, then as fast as all of it would take {OVER:g} s; what is above\n"
                     "is of two seconds' answers, and so has noise of some points.\n")
    return text


def head_text(environment, versions, rounds, scale):
    e = environment
    names = ", ".join(f"{title} {version}" for title, version in versions.items())
    return (f"{e['date']}, {e['os']}, Linux {e['kernel']}, {e['cpu']}, {e['cpus']} CPUs (load {e['load_before']:.1f} before the start); "
            f"one worker each, the proxy pinned to one CPU, load and backends to the others; medians (least–most) of {rounds} interleaved rounds, scale {scale:g}.\n"
            f"{names}.\n")


def configurations_text(texts):
    out = "## Configurations\n"
    for what, peers in texts.items():
        for peer, files in peers.items():
            out += f"\n### {PEERS[peer].title}: {what}\n"
            for name, text in files.items():
                out += f"\n{name}\n\n```\n{text.strip()}\n```\n"
    return out
