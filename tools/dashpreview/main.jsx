// Draws one dashboard from what collect.py saw: ?file=load.json&board=0. Heatmaps and merged tables, whose panels are not in npm,
// are drawn by hand; everything else is Grafana's own.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  createTheme, toDataFrame, FieldType, getDisplayProcessor, dateTime, applyFieldOverrides, standardFieldConfigEditorRegistry,
  standardEditorsRegistry, ThemeContext, getValueFormat, formattedValueToString, FieldColorModeId, sortDataFrame,
} from '@grafana/data';
import { TimeSeries, BigValue, BigValueColorMode, BigValueGraphMode, Table, BarGauge, PanelChrome, GlobalStyles } from '@grafana/ui';
import { BarGaugeDisplayMode, BarGaugeValueMode, VizOrientation, LegendDisplayMode } from '@grafana/schema';

// The options that our dashboards override or set; the editors of Grafana itself are not in npm.
const kept = ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'thresholds'];
const option = (id) => ({ id, path: id, name: id, process: (value) => value, shouldApply: () => true, override: () => null, editor: () => null });
standardEditorsRegistry.setInit(() => []);
standardFieldConfigEditorRegistry.setInit(() => kept.map(option));
const theme = createTheme({ colors: { mode: 'dark' } });
const WIDTH = 1560, CELL = WIDTH / 24, ROW = 34, GAP = 8;

const legendOf = (target, metric) => {
  const text = target.legendFormat && target.legendFormat !== '__auto' ? target.legendFormat : '';
  if (text) return text.replace(/{{\s*(\w+)\s*}}/g, (_, name) => metric[name] ?? '');
  const labels = Object.entries(metric).filter(([name]) => name !== '__name__').map(([, value]) => value).join(' ');
  return labels || 'Value';
};

const number = (text) => (text === 'NaN' || text === null ? null : Number(text));

function framesOf(panel, answers, span) {
  const frames = [];
  panel.targets.forEach((target, at) => {
    if (target.rawSql) return frames.push(...sqlFrames(target, answers[at]));
    for (const series of answers[at]) {
      const values = series.values ?? [series.value];
      frames.push(toDataFrame({
        refId: target.refId,
        name: legendOf(target, series.metric),
        fields: [
          { name: 'time', type: FieldType.time, values: values.map(([t]) => t * 1000) },
          { name: legendOf(target, series.metric), type: FieldType.number, values: values.map(([, v]) => number(v)),
            config: { displayNameFromDS: legendOf(target, series.metric) } },
        ],
      }));
    }
  });
  return overridden(panel, frames);
}

function sqlFrames(target, rows) {
  if (target.format !== 'time_series') return [tableFrame(rows)];
  const lines = new Map();
  for (const row of rows) {
    const value = Object.entries(row).find(([name]) => !['time', 'metric'].includes(name))[1];
    const line = lines.get(row.metric) ?? lines.set(row.metric, []).get(row.metric);
    line.push([row.time, value]);
  }
  return [...lines].map(([name, points]) => toDataFrame({ name, fields: [
    { name: 'time', type: FieldType.time, values: points.map(([t]) => t) },
    { name, type: FieldType.number, values: points.map(([, v]) => v), config: { displayNameFromDS: name } },
  ] }));
}

function tableFrame(rows) {
  const names = rows.length ? Object.keys(rows[0]) : ['nothing'];
  const kind = (name) => (name === 'time' ? FieldType.time : rows.some((row) => typeof row[name] === 'string' || typeof row[name] === 'boolean') ? FieldType.string : FieldType.number);
  return toDataFrame({ fields: names.map((name) => ({ name, type: kind(name), values: rows.map((row) => (typeof row[name] === 'boolean' ? String(row[name]) : row[name])) })) });
}

// What Grafana's merge and organize do with several instant queries, and the labels of one as columns.
function promTable(panel, answers) {
  const organize = (panel.transformations ?? []).find((one) => one.id === 'organize')?.options?.renameByName ?? {};
  const rows = new Map();
  answers.forEach((series, at) => {
    for (const one of series) {
      const { __name__: _, ...labels } = one.metric;
      const key = JSON.stringify(labels);
      const row = rows.get(key) ?? rows.set(key, { ...labels }).get(key);
      const column = `Value #${panel.targets[at].refId}`;
      row[organize[column] ?? 'Value'] = number(one.value[1]);
    }
  });
  return overridden(panel, [tableFrame([...rows.values()])]);
}

function overridden(panel, frames) {
  const done = applyFieldOverrides({ data: frames, fieldConfig: panel.fieldConfig, replaceVariables: (v) => v, theme, timeZone: 'utc', fieldConfigRegistry: standardFieldConfigEditorRegistry });
  return done.map((frame, i) => {
    frame.fields.forEach((field, j) => {
      field.state = { ...field.state, seriesIndex: i };
      // The regular expressions of overrides are Grafana's matchers; the custom options belong to the time series panel.
      field.config = { ...field.config, custom: { drawStyle: 'line', lineWidth: 1, fillOpacity: 6, showPoints: 'never', ...panel.fieldConfig.defaults.custom, ...field.config.custom },
        color: field.config.color ?? { mode: panel.type === 'timeseries' ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds } };
      field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    });
    return frame;
  });
}

function Stat({ panel, frames, width, height }) {
  const lines = frames.map((frame) => {
    const field = frame.fields.find((one) => one.type === FieldType.number);
    const values = field ? field.values.filter((v) => v !== null && v !== undefined && !Number.isNaN(v)) : [];
    const display = field?.display(values.length ? values[values.length - 1] : null);
    return { name: frame.name, field, display, values };
  });
  if (!lines.length) return <div className="nodata">No data</div>;
  const each = height / 1;
  return (
    <div style={{ display: 'flex', gap: 6 }}>
      {lines.map((line, at) => (
        <BigValue key={at} theme={theme} width={width / lines.length - 6} height={each} value={{ ...line.display, title: lines.length > 1 ? line.name : undefined }}
          colorMode={BigValueColorMode.Background} graphMode={line.values.length > 1 ? BigValueGraphMode.Area : BigValueGraphMode.None}
          sparkline={line.values.length > 1 ? { y: { ...line.field, values: line.field.values }, x: frames[at].fields[0] } : undefined} />
      ))}
    </div>
  );
}

function Heat({ panel, answers, width, height }) {
  const series = [...answers[0]].sort((a, b) => parseFloat(a.metric.le === '+Inf' ? 'Infinity' : a.metric.le) - parseFloat(b.metric.le === '+Inf' ? 'Infinity' : b.metric.le));
  const times = series[0]?.values.map(([t]) => t) ?? [];
  let below = times.map(() => 0);
  const rows = series.map((one) => {
    const at = new Map(one.values.map(([t, v]) => [t, number(v)]));
    const row = times.map((t, i) => Math.max(0, (at.get(t) ?? 0) - below[i]));
    below = times.map((t, i) => at.get(t) ?? below[i]);
    return { le: one.metric.le, row };
  });
  const most = Math.max(1e-9, ...rows.flatMap((one) => one.row));
  const h = (height - 20) / Math.max(1, rows.length), w = (width - 60) / Math.max(1, times.length);
  return (
    <svg width={width} height={height}>
      {rows.map((one, y) => one.row.map((v, x) => v > 0 && <rect key={`${x}-${y}`} x={56 + x * w} y={height - 20 - (y + 1) * h} width={w + 0.5} height={h - 1} fill={`hsl(${50 - 40 * (v / most)}, 90%, ${25 + 40 * (v / most)}%)`} />))}
      {rows.map((one, y) => y % 2 === 0 && <text key={y} x={50} y={height - 22 - y * h} fontSize="10" fill="#aaa" textAnchor="end">{one.le}</text>)}
    </svg>
  );
}

function Body({ panel, answers, span, width, height }) {
  const timeRange = { from: dateTime(span.from), to: dateTime(span.to), raw: { from: dateTime(span.from), to: dateTime(span.to) } };
  if (panel.type === 'heatmap') return <Heat {...{ panel, answers, width, height }} />;
  if (panel.type === 'table') {
    const frames = panel.targets[0].rawSql ? overridden(panel, [tableFrame(answers[0])]) : promTable(panel, answers);
    if (panel.title === 'Firing alerts') frames[0] = sortDataFrame(frames[0], frames[0].fields.findIndex((one) => one.name === 'severity'));
    if (!frames[0].length) return <div className="nodata">{panel.title === 'Firing alerts' ? 'No alert is firing' : 'No data'}</div>;
    return <Table data={frames[0]} width={width} height={height} />;
  }
  const frames = framesOf(panel, answers, span);
  if (!frames.length) return <div className="nodata">No data</div>;
  if (panel.type === 'stat') {
    const shown = panel.targets[0].rawSql ? frames : frames;
    return <Stat {...{ panel, frames: shown, width, height }} />;
  }
  if (panel.type === 'bargauge') {
    const rows = frames.map((frame) => ({ frame, value: frame.fields[1].values.at(-1) })).sort((a, b) => b.value - a.value).slice(0, Math.floor(height / 26));
    const most = Math.max(1e-9, ...rows.map((one) => one.value));
    return rows.map(({ frame, value }, at) => (
      <BarGauge key={at} theme={theme} width={width} height={24} field={{ ...frame.fields[1].config, min: 0, max: most }} value={{ ...frame.fields[1].display(value), title: frame.name }}
        displayMode={BarGaugeDisplayMode.Gradient} orientation={VizOrientation.Horizontal} valueDisplayMode={BarGaugeValueMode.Color} display={frame.fields[1].display} />
    ));
  }
  return <TimeSeries frames={frames} structureRev={1} timeRange={timeRange} timeZone="utc" width={width} height={height}
    legend={{ showLegend: true, displayMode: LegendDisplayMode.List, placement: 'bottom', calcs: [] }} options={{}} />;
}

class Guard extends React.Component {
  state = { failure: null };
  static getDerivedStateFromError(failure) { return { failure }; }
  render() {
    if (!this.state.failure) return this.props.children;
    console.error('panel failed', this.state.failure.stack);
    return <pre style={{ color: 'red', fontSize: 10 }}>{String(this.state.failure)}</pre>;
  }
}

function Board({ board, span: seen }) {
  const { dashboard, answers } = board;
  const bySql = dashboard.templating.list[0].query !== 'prometheus';
  const span = bySql ? { from: seen.to - 12 * 3600e3, to: seen.to + 3600e3 } : seen;
  let at = -1;
  const bottom = Math.max(...dashboard.panels.map((p) => p.gridPos.y + p.gridPos.h)) * ROW + 90;
  return (
    <div style={{ width: WIDTH + 2 * GAP, height: bottom, position: 'relative', padding: GAP, background: theme.colors.background.canvas }} id="board">
      <h2 style={{ margin: '4px 6px' }}>{dashboard.title}</h2>
      <div style={{ margin: '0 6px', color: theme.colors.text.secondary }}>{dashboard.description}</div>
      {dashboard.panels.map((panel) => {
        const p = panel.gridPos, top = p.y * ROW + 64, left = p.x * CELL + GAP;
        if (panel.type === 'row') return <div key={panel.id} style={{ position: 'absolute', top: top + 8, left: left + 4, fontWeight: 500 }}>▾ {panel.title}</div>;
        at += 1;
        const found = answers[at];
        return (
          <div key={panel.id} style={{ position: 'absolute', top, left }}>
            <PanelChrome title={panel.title} description={panel.description} width={p.w * CELL - GAP} height={p.h * ROW - GAP}>
              {(w, h) => <Guard><Body panel={panel} answers={found} span={span} width={w} height={h} /></Guard>}
            </PanelChrome>
          </div>
        );
      })}
    </div>
  );
}

const wanted = new URLSearchParams(location.search);
const seen = await (await fetch(`/data/${wanted.get('file')}`)).json();
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <style>{'.nodata{display:flex;height:100%;align-items:center;justify-content:center;color:#888}'}</style>
    <Board board={seen.boards[Number(wanted.get('board'))]} span={seen} />
  </ThemeContext.Provider>,
);
