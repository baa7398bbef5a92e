"""
Boards as the JSON that Grafana loads, through Grafana's own types.
"""

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as types
from grafana_foundation_sdk.models import units as known
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from fraudstream.dashboards.panels import CHOSEN, Board, Panel, Variable

COLUMNS = 24
#: One colour for one meaning, everywhere.
COLOURS = {
    "approve": "green", "scored": "green", "delivered": "green", "committed": "green", "appended": "green", "active": "green",
    "challenge": "yellow", "review": "orange", "invalid": "orange", "retried": "orange", "rejected": "orange",
    "block": "red", "failed": "red", "dead_lettered": "red", "undeliverable": "red",
    "duplicate": "purple", "deduplicated": "blue", "digested": "blue", "idle": "dark-orange", "none": "text",
}  # fmt: skip
#: A panel that shows zero all day must not be scaled to its noise.
_SOFT_MAX = {"eps": 1.0, "short": 1.0, "ops": 1.0, "rowsps": 1.0, "percentunit": 0.01, "s": 0.01}
_SOURCES = {
    "prometheus": types.DataSourceRef(type_val="prometheus", uid="${datasource}"),
    "postgres": types.DataSourceRef(type_val="grafana-postgresql-datasource", uid="${datasource}"),
}
_KINDS = {"timeseries": timeseries, "stat": stat, "table": table, "bargauge": bargauge, "heatmap": heatmap}


def render(board: Board) -> str:
    """
    Return the text of a dashboard's file.
    """
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.question)
        .tags(["fraudstream", "generated"])
        .readonly()
        .tooltip(types.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .timezone("utc")
        .time("now-1h" if board.source == "prometheus" else "now-7d", "now")
        .link(
            dashboard.DashboardLink("Fraudstream")
            .type(types.DashboardLinkType.DASHBOARDS)
            .tags(["fraudstream"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .variables([_source_variable(board.source), *(_query_variable(one) for one in board.variables)])
    )
    if board.source == "prometheus":
        built.annotation(_rule_set_changes())
    number = 0
    for panel in _placed(board, number):
        built.with_panel(panel)
    return str(JSONEncoder(sort_keys=True, indent=1).encode(built.build())) + "\n"


def _placed(board: Board, number: int) -> list[Any]:
    """
    Lay panels out left to right, top to bottom, under the titles of their rows.
    """
    placed: list[Any] = []
    top = 0
    for title, row in board.rows:
        number += 1
        placed.append(_Row(title, number, top))
        left, top, tallest = 0, top + 1, 0
        for panel in row:
            if left + panel.width > COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            number += 1
            place = types.GridPos(h=panel.height, w=panel.width, x=left, y=top)
            placed.append(_panel(panel, board.source, number).grid_pos(place))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


class _Row:
    """
    The title over some panels, as something that builds itself.
    """

    def __init__(self, title: str, number: int, top: int) -> None:
        self._row = types.RowPanel(
            id_val=number, title=title, collapsed=False, panels=[], grid_pos=types.GridPos(h=1, w=COLUMNS, x=0, y=top)
        )

    def build(self) -> types.RowPanel:
        """
        Return the row.
        """
        return self._row


def _source_variable(source: str) -> Any:
    kind = _SOURCES[source].type_val or ""
    return dashboard.DatasourceVariable("datasource").label("Data source").type(kind)


def _query_variable(variable: Variable) -> Any:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(_SOURCES["prometheus"])
        .query(variable.query)
        .refresh(types.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(types.VariableOption(text="All", value="$__all"))
    )


def _rule_set_changes() -> Any:
    changed = 'changes(max(fraudstream_ruleset_last_reload_success_timestamp_seconds{job=~"$job"})[2m:]) > 0'
    return (
        dashboard.AnnotationQuery()
        .name("Rule set taken over")
        .datasource(_SOURCES["prometheus"])
        .expr(changed)
        .icon_color("purple")
        .enable(True)
    )


def _panel(panel: Panel, source: str, number: int) -> Any:
    built: Any = (
        _KINDS[panel.kind]
        .Panel()
        .id(number)
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCES[source])
        .unit(panel.unit)
        .thresholds(_thresholds(panel))
    )
    for place, (query, legend) in enumerate(panel.queries):
        target = _asked(panel, query, legend) if source == "prometheus" else _sql(panel, query)
        built.with_target(_Target(target, chr(ord("A") + place)))
    _FINISH[panel.kind](panel, built)
    return built


class _Target:
    def __init__(self, target: Any, letter: str) -> None:
        target.ref_id = letter
        self._target = target

    def build(self) -> Any:
        return self._target


def _asked(panel: Panel, query: str, legend: str) -> Any:
    kind = PromQueryFormat.TABLE if panel.kind == "table" else PromQueryFormat.TIME_SERIES
    if panel.kind == "heatmap":
        kind = PromQueryFormat.HEATMAP
    target = (
        prometheus.Dataquery()
        .datasource(_SOURCES["prometheus"])
        .expr(query.replace("$J", CHOSEN))
        .legend_format(legend or "__auto")
        .format(kind)
        .exemplar(panel.exemplars)
    )
    return (target.instant() if panel.instant else target.range()).build()


class _Sql:
    """
    A query of Grafana's PostgreSQL source, for which the types of the foundation have none.
    """

    def __init__(self, query: str, shape: str) -> None:
        self.ref_id = "A"
        self._query, self._shape = query, shape

    def to_json(self) -> dict[str, object]:
        """
        Return what Grafana keeps of it.
        """
        source = _SOURCES["postgres"]
        return {
            "refId": self.ref_id,
            "datasource": {"type": source.type_val, "uid": source.uid},
            "editorMode": "code",
            "rawQuery": True,
            "rawSql": self._query,
            "format": self._shape,
        }


def _sql(panel: Panel, query: str) -> _Sql:
    return _Sql(query, "time_series" if panel.kind == "timeseries" else "table")


def _thresholds(panel: Panel) -> Any:
    steps = [
        types.Threshold(value=None, color=panel.base),
        *(types.Threshold(value=s.value, color=s.colour) for s in panel.steps),
    ]
    return dashboard.ThresholdsConfig().mode(types.ThresholdsMode.ABSOLUTE).steps(steps)


def _finish_timeseries(panel: Panel, built: Any) -> None:
    if panel.unit == "short" and panel.queries[0][0].startswith("SELECT"):
        built.draw_style(shapes.GraphDrawStyle.BARS)
    built.min(0).fill_opacity(40 if panel.stacked else 6).line_width(1).show_points(shapes.VisibilityMode.NEVER)
    # Said, because without it one colour paints every line.
    built.color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.PALETTE_CLASSIC))
    built.axis_soft_max(_SOFT_MAX.get(panel.unit, 1.0))
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    lines = shapes.GraphThresholdsStyleMode.DASHED if panel.steps else shapes.GraphThresholdsStyleMode.OFF
    built.thresholds_style(common.GraphThresholdsStyleConfig().mode(lines))
    legend = common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST)
    built.legend(legend.placement(shapes.LegendPlacement.BOTTOM).show_legend(True).calcs([]))
    built.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    legends = " ".join(legend for _, legend in panel.queries)
    if any(label in legends for label in ("outcome", "none", "state")):
        for word, colour in COLOURS.items():
            fixed = types.FieldColor(mode=types.FieldColorModeId.FIXED, fixed_color=colour)
            built.override_by_regexp(f"/.*\\b{word}$/", [types.DynamicConfigValue(id_val="color", value=fixed)])


def _finish_stat(_panel: Panel, built: Any) -> None:
    built.no_value("none")
    built.reduce_options(_last()).color_mode(shapes.BigValueColorMode.BACKGROUND).graph_mode(shapes.BigValueGraphMode.AREA)


def _finish_bargauge(_panel: Panel, built: Any) -> None:
    built.reduce_options(_last()).display_mode(shapes.BarGaugeDisplayMode.GRADIENT).orientation(
        shapes.VizOrientation.HORIZONTAL
    )


def _finish_table(panel: Panel, built: Any) -> None:
    built.show_header(True)
    if panel.title == "Firing alerts":
        built.sort_by([common.TableSortByFieldState().display_name("severity").desc(False)])
    if len(panel.queries) > 1:  # one column for each query, joined on what they have in common
        names = {f"Value #{chr(ord('A') + at)}": legend for at, (_, legend) in enumerate(panel.queries)}
        built.with_transformation(types.DataTransformerConfig(id_val="merge", options={}))
        renamed = {"excludeByName": {"Time": True}, "renameByName": names}
        built.with_transformation(types.DataTransformerConfig(id_val="organize", options=renamed))
        for name, unit in _COLUMN_UNITS.items():
            built.override_by_name(name, [types.DynamicConfigValue(id_val="unit", value=unit)])


_COLUMN_UNITS = {"Heartbeat": "s", "CPU": "percentunit", "Memory": "bytes"}


def _finish_heatmap(_panel: Panel, built: Any) -> None:
    built.calculate(False)


def _last() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


_FINISH = {
    "timeseries": _finish_timeseries,
    "stat": _finish_stat,
    "table": _finish_table,
    "bargauge": _finish_bargauge,
    "heatmap": _finish_heatmap,
}


def units() -> Sequence[str]:
    """
    Return the units that Grafana knows.
    """
    return [value for name, value in vars(known).items() if not name.startswith("_") and isinstance(value, str)]
