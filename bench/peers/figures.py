# SPDX-License-Identifier: MIT
"""What a lost datacenter costs, from the samples of a rehearsal. Pure: samples in, numbers
out. A sample is (intended, latency, good, datacenter that answered or ""); times in ms
from the start of the run."""
from collections import Counter

SLOW_MS = 250
WIDTH_MS = {"share": 1000, "transition": 500, "ramp": 2000}
FEW = 20  # answers that a bin needs to have a share


def shares(samples, name, width):
    """[(begin of the bin, its answers' part from that datacenter), ...]; by when they were answered, bins with few left out."""
    bins = {}
    for at, ms, good, datacenter in samples:
        if good and datacenter:
            bins.setdefault(int((at + ms) // width), []).append(datacenter == name)
    return [(width * i, sum(bins[i]) / len(bins[i])) for i in sorted(bins) if len(bins[i]) >= FEW]


def normal_share(samples, name, lost):
    """Of the answers before the loss."""
    before = [datacenter == name for at, ms, good, datacenter in samples if good and datacenter and at + ms < lost]
    return sum(before) / len(before) if before else 0


def costs(samples, lost):
    """Errors and slow answers of the whole run, how many of both were asked in each tenth of a second, the
    worst answer, and after the loss the longest time without a success, and the seconds until the last
    error or slow answer."""
    trouble = [at for at, ms, good, _ in samples if not good or ms > SLOW_MS]
    points = [lost] + sorted(at + ms for at, ms, good, _ in samples if good and at + ms > lost)
    return {"requests": len(samples), "errors": sum(not good for _, _, good, _ in samples),
            "slow": sum(good and ms > SLOW_MS for _, ms, good, _ in samples), "worst_ms": max(ms for _, ms, _, _ in samples),
            "trouble": sorted(Counter(int(at // 100) / 10 for at in trouble).items()),
            "gap_ms": max((b - a for a, b in zip(points, points[1:])), default=0),
            "recover_s": max(0.0, (max(trouble, default=lost) - lost) / 1000)}


def transitions(samples, name, lost):
    """How often the datacenter's share crosses half of its normal one."""
    half = normal_share(samples, name, lost) / 2
    sides = [share > half for at, share in shares(samples, name, WIDTH_MS["transition"])]
    return sum(a != b for a, b in zip(sides, sides[1:]))


def ramp(at, first, over):
    """What of its normal share a datacenter should have, `at` after it has some again."""
    return min(1.0, first + max(0.0, at) / over)


def back(samples, name, lost, returned, first, over):
    """After the return: errors, slow answers, seconds until the datacenter answers again and until
    it has 90 % of its normal share in a second, and the most that its share of two seconds was above the
    ramp (in points; from `first` on, all of it would take `over` ms, begun with its first answer). None: never."""
    normal = normal_share(samples, name, lost)
    after = [s for s in samples if s[0] >= returned]
    ends = [at + ms for at, ms, good, datacenter in samples if good and datacenter == name and at + ms >= returned]
    begin = min(ends, default=None)
    out = {"back_errors": sum(not good for _, _, good, _ in after), "back_slow": sum(good and ms > SLOW_MS for _, ms, good, _ in after),
           "first_s": None, "full_s": None, "above_points": None}
    if begin is None or not normal:
        return out
    since = [(at - begin, *rest) for at, *rest in samples]
    full = [at for at, share in shares(since, name, WIDTH_MS["share"]) if at >= 0 and share >= 0.9 * normal]
    out["first_s"] = (begin - returned) / 1000
    out["full_s"] = (begin + min(full) - returned) / 1000 if full else None
    # The ramp's middle of the bin: its mean, as the share is one.
    width = WIDTH_MS["ramp"]
    out["above_points"] = max((100 * (share / normal - ramp(at + width / 2, first, over)) for at, share in shares(since, name, width) if at >= 0),
                              default=None)
    return out
