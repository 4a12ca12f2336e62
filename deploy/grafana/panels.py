"""The few kinds of panel that the dashboards are made of."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    ScaleDistributionConfig,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.heatmap import HeatmapColorOptions, YAxisConfig
from grafana_foundation_sdk.builders.heatmap import Panel as HeatmapPanel
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as StatPanel
from grafana_foundation_sdk.builders.table import Panel as TablePanel
from grafana_foundation_sdk.builders.timeseries import Panel as TimeseriesPanel
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT: Final = 8  # of a graph, in Grafana's rows of 30 pixels; spans are of 24 columns
OK, WARN, BAD = "green", "orange", "red"

Panels: TypeAlias = list[TimeseriesPanel | StatPanel | HeatmapPanel | TablePanel]


def board(uid: str, title: str, description: str, jobs_of: str, rows: dict[str, Panels]) -> Dashboard:
    """A dashboard with the variables `datasource` and `job`, whose choices are the jobs that show `jobs_of`."""
    dashboard = (
        Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["alert-classifier"])
        .timezone("utc")
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            QueryVariable("job")
            .label("Job")
            .datasource(SOURCE)
            .query(f"label_values({jobs_of}, job)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    )
    for name, panels in rows.items():
        dashboard = dashboard.with_row(Row(name))
        for panel in panels:
            dashboard = dashboard.with_panel(panel)
    return dashboard


def graph(
    title: str, unit: str, description: str, *queries: tuple[str, str], span: int = 8, stacked: bool = False
) -> TimeseriesPanel:
    """Lines over time of `queries`, (expression, legend) each; `stacked` for shares of a whole."""
    panel = (
        TimeseriesPanel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(HEIGHT)
        .line_width(1)
        .fill_opacity(70 if stacked else 10)
        .show_points(VisibilityMode.NEVER)
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull"])
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if stacked:
        panel = panel.stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for place, (expression, legend) in enumerate(queries):
        panel = panel.with_target(_query(place, expression, legend))
    return panel


def stat(
    title: str, unit: str, description: str, expression: str, steps: list[tuple[float | None, str]], legend: str = ""
) -> StatPanel:
    """One number, coloured by `steps`: (from this value on, colour), the first from None. With a legend, its text."""
    return (
        StatPanel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .span(3)
        .height(4)
        .color_mode(BigValueColorMode.VALUE)
        .text_mode(BigValueTextMode.NAME if legend else BigValueTextMode.AUTO)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(
            ThresholdsConfig()
            .mode(ThresholdsMode.ABSOLUTE)
            .steps([Threshold(value=value, color=color) for value, color in steps])
        )
        .with_target(_query(0, expression, legend))
    )


def heatmap(title: str, unit: str, description: str, histogram: str, span: int = 12) -> HeatmapPanel:
    """Events per interval in the buckets of a Prometheus histogram, on a logarithmic axis."""
    expression = f'sum by (le) (increase({histogram}_bucket{{job="$job"}}[$__rate_interval]))'
    return (
        HeatmapPanel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(span)
        .height(HEIGHT)
        .calculate(False)
        .color(HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").exponent(0.5).steps(64))
        .scale_distribution(ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))
        .y_axis(YAxisConfig().unit(unit))
        .show_y_histogram()
        .hide_legend()
        .with_target(_query(0, expression, "{{le}}").format(PromQueryFormat.HEATMAP))
    )


def table(title: str, description: str, expression: str, hidden: list[str], span: int = 12) -> TablePanel:
    """The labels of what `expression` finds now, one row a series."""
    left_out: dict[str, Any] = dict.fromkeys(["Time", "Value", "__name__", *hidden], True)
    return (
        TablePanel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(span)
        .height(HEIGHT)
        .with_target(_query(0, expression, "").instant().format(PromQueryFormat.TABLE))
        .with_transformation(DataTransformerConfig(id_val="organize", options={"excludeByName": left_out}))
    )


def _query(place: int, expression: str, legend: str) -> Dataquery:
    return Dataquery().expr(expression).legend_format(legend).ref_id("ABCDEFGH"[place]).datasource(SOURCE)
