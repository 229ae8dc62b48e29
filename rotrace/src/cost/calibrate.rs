//! Given: measurements in CSV, each the processor seconds of the backends in one interval with the calls of each class in
//! it. Gives: weights that explain them best, none below zero. Refuses to know: where the numbers were measured, and files.
//!
//! ```text
//! cpu_seconds,bytes,data_store_get,data_store_set
//! 12.5,73400320,90000,4100
//! ```

mod nnls;

use std::collections::BTreeMap;

use super::{MicroCu, Weights};
use crate::catalogue::Fault;
use nnls::Normal;

/// The column that is explained.
const SECONDS: &str = "cpu_seconds";

/// The column of bytes in both directions; there need not be one.
const BYTES: &str = "bytes";

/// The class whose weight is one unit.
const UNIT_CLASS: &str = "data_store_get";

/// Columns at most; the work grows with their cube.
const COLUMNS_MAX: usize = 256;

/// What measurements say.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Intervals that were measured.
    pub intervals: usize,
    /// Each class that has a column, in the order of the columns.
    pub classes: Vec<Fitted>,
    /// Processor seconds of a byte; `None` without a column, or when nothing tells them from those of calls.
    pub seconds_per_byte: Option<f64>,
    /// Which part of the variance is explained; `None` when there is none.
    pub r_squared: Option<f64>,
    /// A weights file with the new weights, in TOML.
    pub weights: String,
}

/// What measurements say of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Its name.
    pub class: Box<str>,
    /// In all intervals.
    pub calls: f64,
    /// What it cost before, without items.
    pub before: MicroCu,
    /// Processor seconds of a call. `None` when it was not called, or always in the same proportion to others: its weight
    /// is left.
    pub seconds_per_call: Option<f64>,
    /// The new weight.
    pub after: Option<MicroCu>,
}

/// Fits weights to measurements; the file that comes out has this version.
pub fn calibrate(csv: &str, weights: &Weights, version: &str) -> Result<Calibration, Fault> {
    let mut lines = csv.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (line, head) = lines.next().unwrap_or_default();
    let fault = |line: usize, message: String| Fault { line: line + 1, column: 1, message };
    let columns = columns(head, weights).map_err(|why| fault(line, why))?;
    let explaining = columns.iter().filter(|column| !matches!(column, Column::Seconds)).count();
    let mut normal = Normal::new(explaining);
    let mut calls = vec![0.0; explaining];
    for (line, row) in lines {
        let (seconds, counts) = numbers(row, &columns).map_err(|why| fault(line, why))?;
        normal.add(&counts, seconds);
        calls.iter_mut().zip(&counts).for_each(|(sum, count)| *sum += count);
    }
    if normal.rows() <= explaining {
        let rows = normal.rows();
        return Err(fault(
            line,
            format!("{rows} intervals cannot tell {explaining} columns apart; measure more"),
        ));
    }
    let solution = normal.solve();
    let seconds = |name: &str| {
        let explaining = columns.iter().filter(|column| !matches!(column, Column::Seconds));
        let at = explaining.clone().position(|column| column.name() == name)?;
        solution.get(at).copied().flatten()
    };
    let unit = weights.class(UNIT_CLASS).map_or(MicroCu::UNIT, |class| class.weight);
    let seconds_of_unit = seconds(UNIT_CLASS).filter(|seconds| *seconds > 0.0).ok_or_else(|| {
        let why = format!("nothing tells what a call of {UNIT_CLASS} costs, so there is no unit to count in");
        fault(line, why)
    })?;
    let units = |seconds: f64| seconds / seconds_of_unit * unit.cu();
    let named = columns.iter().filter_map(|column| match column {
        Column::Seconds | Column::Bytes => None,
        Column::Class(name) => Some(*name),
    });
    let sums: BTreeMap<&str, f64> = columns
        .iter()
        .filter(|column| !matches!(column, Column::Seconds))
        .map(Column::name)
        .zip(calls)
        .collect();
    let classes: Vec<Fitted> = named
        .map(|name| Fitted {
            class: name.into(),
            calls: sums.get(name).copied().unwrap_or_default(),
            before: weights.class(name).map_or_else(MicroCu::default, |class| class.weight),
            seconds_per_call: seconds(name),
            after: seconds(name).map(|seconds| MicroCu::of_cu(units(seconds))),
        })
        .collect();
    let fitted: BTreeMap<&str, f64> =
        classes.iter().filter_map(|fitted| Some((&*fitted.class, fitted.after?.cu()))).collect();
    let seconds_per_byte = seconds(BYTES);
    let text = weights.recalibrated(version, &fitted, seconds_per_byte.map(|one| units(one) * 65_536.0));
    // What is out of all proportion cannot be a weight.
    Weights::parse(&text)
        .map_err(|why| fault(line, format!("these weights make no file: {}", why.message)))?;
    Ok(Calibration {
        intervals: normal.rows(),
        classes,
        seconds_per_byte,
        r_squared: normal.r_squared(&solution),
        weights: text,
    })
}

/// What a column counts.
enum Column<'a> {
    Seconds,
    Bytes,
    Class(&'a str),
}

impl<'a> Column<'a> {
    fn name(&self) -> &'a str {
        match self {
            Self::Seconds => SECONDS,
            Self::Bytes => BYTES,
            Self::Class(name) => name,
        }
    }
}

fn columns<'a>(head: &'a str, weights: &Weights) -> Result<Vec<Column<'a>>, String> {
    let mut columns: Vec<Column<'_>> = Vec::new();
    for name in head.split(',').map(str::trim) {
        let column = match name {
            SECONDS => Column::Seconds,
            BYTES => Column::Bytes,
            class if weights.class(class).is_some() => Column::Class(class),
            unknown => {
                let names = weights.classes().iter().map(|class| &*class.name).chain([SECONDS, BYTES]);
                let near = names.min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
                let near = near.unwrap_or_default();
                return Err(format!("column `{unknown}` is not a class; did you mean `{near}`?"));
            }
        };
        if columns.iter().any(|known| known.name() == name) {
            return Err(format!("column `{name}` is there twice"));
        }
        columns.push(column);
    }
    if columns.len() > COLUMNS_MAX {
        return Err(format!("{} columns, more than {COLUMNS_MAX}", columns.len()));
    }
    if !columns.iter().any(|column| matches!(column, Column::Seconds)) {
        return Err(format!("there is no column `{SECONDS}`"));
    }
    Ok(columns)
}

/// The seconds of a row, and the numbers of all other columns.
fn numbers(row: &str, columns: &[Column<'_>]) -> Result<(f64, Vec<f64>), String> {
    let fields: Vec<&str> = row.split(',').map(str::trim).collect();
    if fields.len() != columns.len() {
        return Err(format!("{} fields under {} columns", fields.len(), columns.len()));
    }
    let mut seconds = 0.0;
    let mut counts = Vec::with_capacity(columns.len());
    for (field, column) in fields.into_iter().zip(columns) {
        let number = field.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        let number = number.ok_or_else(|| format!("{}: `{field}` is not a number from 0", column.name()))?;
        match column {
            Column::Seconds => seconds = number,
            Column::Bytes | Column::Class(_) => counts.push(number),
        }
    }
    Ok((seconds, counts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Intervals in which calls and bytes cost exactly so many seconds.
    fn measured(rows: &[[f64; 3]], costs: [f64; 3]) -> String {
        let mut csv = String::from("cpu_seconds,data_store_get, thumbnails ,bytes\n");
        for row in rows {
            let seconds: f64 = row.iter().zip(costs).map(|(count, cost)| count * cost).sum();
            csv.push_str(&format!("{seconds:.12},{},{},{}\n\n", row[0], row[1], row[2]));
        }
        csv
    }

    const ROWS: [[f64; 3]; 5] = [
        [90_000.0, 400.0, 7e8],
        [20_000.0, 900.0, 3e8],
        [10_000.0, 100.0, 9e8],
        [50_000.0, 0.0, 1e8],
        [70_000.0, 800.0, 0.0],
    ];

    #[test]
    fn exact_costs_are_found() {
        let csv = measured(&ROWS, [0.0002, 0.0008, 1e-9]);
        let found = calibrate(&csv, &Weights::default(), "fitted").unwrap();
        assert_eq!(found.intervals, 5);
        assert!(found.r_squared.unwrap() > 0.999_999);
        let after: Vec<_> = found.classes.iter().map(|class| (&*class.class, class.after)).collect();
        assert_eq!(
            after,
            [("data_store_get", Some(MicroCu::UNIT)), ("thumbnails", Some(MicroCu::of_cu(4.0)))]
        );
        let weights = Weights::parse(&found.weights).unwrap();
        assert_eq!(weights.version(), "fitted");
        let thumbnails = weights.class("thumbnails").unwrap();
        assert_eq!((thumbnails.weight.cu(), thumbnails.per_item.cu()), (4.0, 0.0));
        assert_eq!(thumbnails.basis, crate::cost::Basis::Calibrated);
        // 1 ns a byte is 0.000005 Gets, and so 0.32768 for 64 KiB.
        assert!(found.weights.contains("bytes_64kib = 0.327"), "{}", found.weights);
        assert_eq!(weights.class("message"), Weights::default().class("message"));
    }

    #[test]
    fn what_was_not_called_is_not_known_and_keeps_its_weight() {
        let rows = ROWS.map(|[gets, _, bytes]| [gets, 0.0, bytes]);
        let found = calibrate(&measured(&rows, [0.0002, 0.0, 0.0]), &Weights::default(), "fitted").unwrap();
        assert_eq!(found.classes[1].seconds_per_call, None);
        let weights = Weights::parse(&found.weights).unwrap();
        assert_eq!(weights.class("thumbnails"), Weights::default().class("thumbnails"));
        // Bytes cost nothing here, and that is known.
        assert!(found.seconds_per_byte.unwrap() < 1e-15);
    }

    #[test]
    fn faults_name_the_line() {
        let check = |csv: &str, expect: &str| {
            let fault = calibrate(csv, &Weights::default(), "x").unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check("", "line 1, column 1: column `` is not a class");
        check("data_store_get\n1", "there is no column `cpu_seconds`");
        check("cpu_seconds,thumbnail\n", "column `thumbnail` is not a class; did you mean `thumbnails`?");
        check("cpu_seconds,bytes,bytes\n", "column `bytes` is there twice");
        check("cpu_seconds,bytes\n\n1,2,3\n", "line 3, column 1: 3 fields under 2 columns");
        check("cpu_seconds,bytes\n1,-2\n", "line 2, column 1: bytes: `-2` is not a number from 0");
        check("cpu_seconds,bytes\n1,inf\n", "bytes: `inf` is not");
        check("cpu_seconds,bytes\n1,2\n", "1 intervals cannot tell 1 columns apart");
        check("cpu_seconds,message\n1,2\n2,4\n3,6\n", "nothing tells what a call of data_store_get costs");
    }

    proptest! {
        #[test]
        fn any_measurements_have_weights_or_a_fault(
            head in "(cpu_seconds|bytes|data_store_get|message)(,(cpu_seconds|bytes|data_store_get|message)){1,3}",
            rows in "(([0-9]{1,3}|1e300|0|x)(,([0-9]{1,6}|1e300|0)){1,3}\n){0,8}",
        ) {
            if let Ok(found) = calibrate(&format!("{head}\n{rows}"), &Weights::default(), "x") {
                prop_assert!(Weights::parse(&found.weights).is_ok(), "{}", found.weights);
            }
        }
    }
}
