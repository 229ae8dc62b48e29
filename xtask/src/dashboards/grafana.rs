//! Given: rows of panels. Gives: the JSON of a Grafana dashboard. Refuses to know: what the panels are about.
//!
//! The schema is that of Grafana's dashboard API v1, whose last version is 42; newer Grafana reads it on.

use serde_json::{Value, json};

/// What Grafana calls a dashboard.
#[derive(Debug)]
pub(super) struct Dashboard {
    /// The name in its address.
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) rows: Vec<Row>,
}

/// Panels under one heading.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// One picture.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) description: String,
    pub(super) view: View,
    /// In Grafana's names.
    pub(super) unit: &'static str,
    /// In columns; there are 24.
    pub(super) width: u64,
    pub(super) queries: Vec<Query>,
}

/// How the values of a panel are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum View {
    /// The last value as a number. It is orange above the first, red above the second.
    Number(Option<[f64; 2]>),
    /// Lines over time.
    Lines,
    /// Areas over time, one on the other: what adds up to a whole.
    Areas,
    /// One line for each set of labels, one column for each query; the greatest of the first column on top.
    Table,
}

/// One expression, and what its values are called.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) expression: String,
    /// With labels in `{{}}`; for tables the heading of the column.
    pub(super) legend: &'static str,
    /// Of the column, when it is not that of the panel.
    pub(super) unit: Option<&'static str>,
}

const COLUMNS: u64 = 24;
const NUMBER_HEIGHT: u64 = 4;
const GRAPH_HEIGHT: u64 = 8;
const TABLE_HEIGHT: u64 = 11;

/// The dashboard as text.
pub(super) fn text(dashboard: &Dashboard) -> String {
    let Dashboard { uid, title, description, rows } = dashboard;
    let dashboard = json!({
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["rotrace"],
        "schemaVersion": 42,
        "version": 1,
        "editable": true,
        // One cross hair for all graphs.
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "timezone": "browser",
        "annotations": { "list": [] },
        "links": [],
        "templating": { "list": variables() },
        "panels": placed(rows),
    });
    // A value made of constants, with keys that are strings.
    let text = serde_json::to_string_pretty(&dashboard).expect("text");
    text + "\n"
}

fn variables() -> Vec<Value> {
    let calls = r#"{__name__=~"rotrace_http_(client|server)_requests_total", instance=~"$instance""#;
    vec![
        json!({
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
        }),
        variable("instance", "Host", "label_values(rotrace_build_info, instance)".to_owned()),
        variable("game", "Game", format!("label_values({calls}}}, game)")),
        variable("endpoint", "Endpoint", format!("label_values({calls}, game=~\"$game\"}}, endpoint)")),
    ]
}

fn variable(name: &str, label: &str, query: String) -> Value {
    json!({
        "name": name,
        "label": label,
        "type": "query",
        "datasource": datasource(),
        "definition": query,
        "query": { "query": query, "refId": name },
        "multi": true,
        "includeAll": true,
        // Not the list of all values: that would be a regular expression of thousands of endpoints.
        "allValue": ".*",
        "current": { "text": ["All"], "value": ["$__all"] },
        // When the time range changes: games and endpoints come and go.
        "refresh": 2,
        "sort": 1,
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Panels in the order of reading: from left to right, then the next line.
fn placed(rows: &[Row]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut y = 0;
    for Row { title, panels } in rows {
        out.push(json!({
            "id": out.len() + 1,
            "type": "row",
            "title": title,
            "collapsed": false,
            "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
            "panels": [],
        }));
        y += 1;
        let (mut x, mut line_height) = (0, 0);
        for panel in panels {
            if x + panel.width > COLUMNS {
                (x, y, line_height) = (0, y + line_height, 0);
            }
            let height = panel.view.height();
            let place = json!({ "x": x, "y": y, "w": panel.width, "h": height });
            out.push(drawn(panel, out.len() + 1, place));
            x += panel.width;
            line_height = line_height.max(height);
        }
        y += line_height;
    }
    out
}

fn drawn(panel: &Panel, number: usize, place: Value) -> Value {
    let Panel { title, description, view, unit, width: _, queries } = panel;
    let mut drawn = json!({
        "id": number,
        "type": view.name(),
        "title": title,
        "description": description,
        "datasource": datasource(),
        "gridPos": place,
        "targets": queries.iter().zip('A'..='Z').map(|(query, letter)| target(query, *view, letter)).collect::<Vec<_>>(),
        "fieldConfig": { "defaults": view.defaults(unit), "overrides": [] },
        "options": view.options(queries),
    });
    if *view == View::Table {
        drawn["transformations"] = columns(queries);
        drawn["fieldConfig"]["overrides"] = queries.iter().filter_map(column_unit).collect();
    }
    drawn
}

fn target(query: &Query, view: View, letter: char) -> Value {
    let is_instant = matches!(view, View::Number(_) | View::Table);
    json!({
        "refId": letter.to_string(),
        "datasource": datasource(),
        "expr": query.expression,
        "legendFormat": query.legend,
        "instant": is_instant,
        "range": !is_instant,
        "format": if view == View::Table { "table" } else { "time_series" },
    })
}

/// One row for each set of labels, without the time, and each column under its name.
fn columns(queries: &[Query]) -> Value {
    let names = queries.iter().zip('A'..='Z').map(|(query, letter)| {
        // The values of an only query are not told apart by its letter.
        let value = if queries.len() == 1 { "Value".to_owned() } else { format!("Value #{letter}") };
        (value, Value::from(query.legend))
    });
    json!([
        { "id": "merge", "options": {} },
        {
            "id": "organize",
            "options": {
                "excludeByName": { "Time": true },
                "renameByName": names.collect::<serde_json::Map<_, _>>(),
            },
        },
    ])
}

fn column_unit(query: &Query) -> Option<Value> {
    let unit = query.unit?;
    Some(json!({
        "matcher": { "id": "byName", "options": query.legend },
        "properties": [{ "id": "unit", "value": unit }],
    }))
}

impl View {
    fn name(self) -> &'static str {
        match self {
            View::Number(_) => "stat",
            View::Lines | View::Areas => "timeseries",
            View::Table => "table",
        }
    }

    fn height(self) -> u64 {
        match self {
            View::Number(_) => NUMBER_HEIGHT,
            View::Lines | View::Areas => GRAPH_HEIGHT,
            View::Table => TABLE_HEIGHT,
        }
    }

    fn defaults(self, unit: &str) -> Value {
        match self {
            View::Number(limits) => json!({
                "unit": unit,
                "color": { "mode": "thresholds" },
                "thresholds": { "mode": "absolute", "steps": steps(limits) },
            }),
            View::Lines | View::Areas => json!({
                "unit": unit,
                "min": 0,
                "color": { "mode": "palette-classic-by-name" },
                "custom": {
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": if self == View::Areas { 40 } else { 8 },
                    "showPoints": "never",
                    "spanNulls": false,
                    "stacking": { "group": "A", "mode": if self == View::Areas { "normal" } else { "none" } },
                },
            }),
            View::Table => json!({ "unit": unit, "custom": { "align": "auto", "filterable": true } }),
        }
    }

    fn options(self, queries: &[Query]) -> Value {
        match self {
            View::Number(limits) => json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": if limits.is_some() { "background" } else { "value" },
                "graphMode": "none",
                "justifyMode": "center",
                "textMode": "value",
            }),
            View::Lines | View::Areas => json!({
                "legend": {
                    "displayMode": "table",
                    "placement": "bottom",
                    "showLegend": true,
                    "calcs": ["lastNotNull", "max"],
                    "sortBy": "Max",
                    "sortDesc": true,
                },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            View::Table => json!({
                "showHeader": true,
                "cellHeight": "sm",
                "sortBy": [{ "displayName": queries.first().map_or("", |query| query.legend), "desc": true }],
                "footer": { "show": false, "enablePagination": true },
            }),
        }
    }
}

fn steps(limits: Option<[f64; 2]>) -> Value {
    match limits {
        None => json!([{ "color": "blue", "value": null }]),
        Some([orange, red]) => json!([
            { "color": "green", "value": null },
            { "color": "orange", "value": orange },
            { "color": "red", "value": red },
        ]),
    }
}
