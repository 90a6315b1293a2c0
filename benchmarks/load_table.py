"""What README's table says of ``benchmarks.load``."""

from typing import Any

Figures = dict[str, Any]
Row = tuple[str, str, str]


def rows(figures: Figures) -> list[Row]:
    """Return the rows of connections, of all at once, and of the soak."""
    many, full, soak = figures["rows"]
    count = f"{many['connections']:,}"

    def failed(row: Figures) -> str:
        said = [f"{row['errors']:,} errors ({row['first_error']})"] if row["errors"] else []
        if lines := row.get("server_errors"):
            said.append(f"{len(lines)} in the server's log ({lines[0]})")
        return ", ".join(said) or "no error"

    def left(row: Figures, name: str) -> str:
        return f"{row['before'][name]:.0f} → {row['after'][name]:.0f}"

    objects = soak["objects"]
    return [
        (
            (
                f"{count} connections for {figures['for_s']:.0f} s: labels computed and read, "
                f"levels, pages; {figures['rate']:.0f} requests/s by chance, loopback, one worker"
            ),
            f"**{failed(many)}**, p50 {many['p50_ms']:.1f} ms, p99 {many['p99_ms']:.0f} ms",
            (
                f"server's memory {left(many, 'rss_mb')} MB, at most "
                f"{many['most']['rss_mb']:.0f}; descriptors {left(many, 'files')}; "
                f"it is busy {many['server_ms']:.2f} ms a request"
            ),
        ),
        (
            f"the same, {count} requests in the server's hands at any time",
            f"{failed(full)}, {full['requests_per_s']:.0f} requests/s",
            f"p50 {full['p50_ms'] / 1e3:.1f} s, p99 {full['p99_ms'] / 1e3:.1f} s, of queue",
        ),
        (
            (
                f"soak: {soak['requests']:,} of them over {soak['connections']} connections, "
                f"{soak['requests_per_s']:.0f} requests/s, the cache full throughout"
            ),
            (
                f"**{failed(soak)}, {soak['growth_mb_per_10k']:+.2f} ± "
                f"{soak['growth_error']:.2f} MB** per 10,000 requests, last half"
            ),
            (
                f"memory {left(soak, 'rss_mb')} MB, descriptors {left(soak, 'files')}, threads "
                f"{left(soak, 'threads')}, objects {objects[0]:,} → {objects[-1]:,}"
            ),
        ),
    ]
