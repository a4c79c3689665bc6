"""Collects what was measured of each layer, and prints one row per kind of layer and M."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Row:
    """Every layer of one role, run with one M."""

    role: str
    n: int
    k: int
    m: int
    variant: str
    layers: int = 0
    plugin_error: float = 0.0  # worst relative RMS error against FP64 on the same INT4 weights
    quantization_error: float = 0.0  # worst one against FP64 on the weights before quantization
    seconds: float = 0.0

    def add(self, plugin_error: float, quantization_error: float, seconds: float) -> None:
        self.layers += 1
        self.plugin_error = max(self.plugin_error, plugin_error)
        self.quantization_error = max(self.quantization_error, quantization_error)
        self.seconds += seconds


_COLUMNS = "{:<12} {:>6} {:>5} {:>5} {:>4} {:>13} {:>13} {:>10}  {}"


def format_table(rows: list[Row]) -> str:
    """The table as text; errors are the worst ones of a row, times the sum of its layers."""
    lines = [
        _COLUMNS.format(
            "layer", "layers", "N", "K", "M", "plugin error", "quantization", "time ms", "variant"
        )
    ]
    for row in rows:
        lines.append(
            _COLUMNS.format(
                row.role,
                row.layers,
                row.n,
                row.k,
                row.m,
                f"{row.plugin_error:.2e}",
                f"{row.quantization_error:.2e}",
                f"{1000 * row.seconds:.1f}",
                row.variant,
            )
        )
    return "\n".join(lines)
