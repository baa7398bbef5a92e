"""
The benchmark as a page: figures, curves, and where the time goes. One file, nothing loaded from elsewhere.
"""

from collections.abc import Mapping
from html import escape

import numpy as np

from fraudstream.app.bench import Measured
from fraudstream.settings.declared import BOTH_DECIDING_GROUPS
from fraudstream.training.chart import BLUE, GREY, ORANGE, Axis, Line, draw

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #111827; max-width: 960px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .25rem .9rem .25rem 0; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums } .bar { background: #0072B2; height: .8rem }
.soft { color: #4B5563 } figure { margin: 1rem 0 }
"""
#: Shares of transactions, from the median to the worst thousandth of a thousandth.
_SHARES = (0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99)
_MS_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)


def bench_page(measured: Measured) -> str:
    """
    Return the report as HTML.
    """
    report = measured.report
    throughput = f"{report.throughput_tps:,.0f} transactions/s" if report.throughput_tps else "no rate held"
    latency = ", ".join(f"{name} {value:,.1f} ms" for name, value in report.latency_ms.items())
    rows = [
        (
            "throughput",
            f"{throughput} for {report.seconds:,.0f} s, {report.transactions:,} payments, {report.degraded:,} degraded",
        ),
        (f"latency at {report.rate_tps:,.0f}/s", latency + ("" if report.latency_held else "; this rate was not kept")),
        ("at once", f"{report.burst_tps:,.0f} transactions/s"),
        *(
            [("the same on FastStream", f"{report.peer_throughput_tps:,.0f} transactions/s at once")]
            if report.peer_throughput_tps is not None
            else []
        ),
        ("machine", report.machine),
        ("processes", ", ".join(report.topology)),
        ("server", report.server),
        ("rules", f"{report.rules}, and the shipped model"),
        ("commit", report.commit or "not a checkout"),
    ]
    figures = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>fraudstream bench</title><style>{STYLE}</style>"
        "<h1>End to end: XADD to committed row</h1>"
        "<p class='soft'>Open loop: each payment is due at its time whatever the system does, and latency counts from then. AOF"
        " everysec, deduplication, decision deadline and database on.</p>"
        f"<table>{figures}</table><h2>Where the CPU goes</h2>{_shares(measured)}"
        f"<figure>{_latency(measured)}</figure><figure>{_lag(measured)}</figure>{_trials(measured)}</html>\n"
    )


def _shares(measured: Measured) -> str:
    cpu, rss = measured.report.cpu_us_per_transaction, measured.report.rss_mb
    total = sum(cpu.values())
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{micros:.1f} µs</td><td class='n'>{micros / total:.0%}</td>"
        f"<td class='n'>{memory(rss, name)}</td>"
        f"<td style='width:20rem'><div class='bar' style='width:{100 * micros / total:.1f}%'></div></td></tr>"
        for name, micros in sorted(cpu.items(), key=lambda item: -item[1])
        if total
    )
    head = "<tr><th>process</th><th>per transaction</th><th>share</th><th>memory</th><th></th></tr>"
    return f"<table>{head}{rows}<tr><td>all</td><td class='n'>{total:.1f} µs</td></tr></table>"


def memory(rss_mb: Mapping[str, float], name: str) -> str:
    """
    Return the memory of a kind of process; a group that shares its process has none of its own.
    """
    return (
        f"{rss_mb[name]:,.0f} MB"
        if name in rss_mb
        else f"in {BOTH_DECIDING_GROUPS}: {rss_mb[BOTH_DECIDING_GROUPS.replace('-', '_')]:,.0f} MB"
    )


def _latency(measured: Measured) -> str:
    found = measured.calm.latency_ms
    values = [(float(share), max(0.1, float(np.percentile(found, share)))) for share in _SHARES] if len(found) else []
    high = max([value for _, value in values] or [1.0])
    shown = tuple((float(tick), f"{tick:,} ms") for tick in _MS_TICKS if tick <= high * 2)
    nines = [(-np.log10(1 - min(share, 99.995) / 100), value) for share, value in values]
    x = Axis(
        label="share of payments decided",
        low=0.0,
        high=4.0,
        ticks=((0.301, "50%"), (1, "90%"), (2, "99%"), (3, "99.9%"), (4, "99.99%")),
    )
    y = Axis(
        label="from due to decided", low=min(1.0, values[0][1] if values else 1.0), high=high * 1.3, ticks=shown, scale="log"
    )
    return draw("Latency", f"at {measured.report.rate_tps:,.0f} payments/s", x, y, [Line(points=nines, colour=BLUE)])


def _lag(measured: Measured) -> str:
    lag = measured.steady.lag
    end = max([1.0, *(at for at, _ in lag)])
    high = max([entries for _, entries in lag] or [1]) * 1.2 + 10
    second = measured.steady.rate_tps * 0.5
    x = Axis(label="seconds", low=0.0, high=end, ticks=tuple((end * part / 5, f"{end * part / 5:,.0f}") for part in range(6)))
    y = Axis(
        label="payments waiting",
        low=0.0,
        high=high,
        ticks=tuple((high * part / 4, f"{high * part / 4:,.0f}") for part in range(5)),
    )
    marks = [
        Line(name="slowest group", points=[(at, float(entries)) for at, entries in lag], colour=ORANGE),
        Line(name="half a second's worth", points=[(0.0, second), (end, second)], colour=GREY, dashed=True),
    ]
    return draw("Lag at the measured rate", f"{measured.steady.rate_tps:,.0f} payments/s", x, y, marks)


def _trials(measured: Measured) -> str:
    rows = "".join(
        f"<tr><td class='n'>{one['rate_tps']:,.0f}</td><td class='n'>{one['seconds']:,.0f} s</td>"
        f"<td>{'held' if one['held'] else 'did not hold'}</td>"
        f"<td class='n'>{one['degraded']:,}</td><td class='n'>{one['lag_end']:,}</td></tr>"
        for one in measured.report.trials
    )
    head = "<tr><th>payments/s</th><th>for</th><th></th><th>degraded</th><th>waiting at the end</th></tr>"
    return f"<h2>Rates that were tried</h2><table>{head}{rows}</table>"
