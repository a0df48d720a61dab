//! The ratios of a run as a picture: one row per metric, one dot per peer, on a logarithmic scale.
//!
//! Dots to the right of the line are in vpod's favour: the ratio is inverted where less is better.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::host::Machine;
use crate::metric::{Better, Metric};
use crate::report::{describe, peers};

const WIDTH: u32 = 1100;
const ROW_HEIGHT: u32 = 18;
/// Title, machine, legend and axis.
const FRAME_HEIGHT: u32 = 150;
const LABEL_WIDTH: u32 = 430;
/// Beside the chart, where no dot is.
const LEGEND_WIDTH: u32 = 110;
/// Ratios beyond this are drawn at the edge.
const WIDEST: f64 = 32.0;
const DOT: u32 = 4;
/// Around a dot of the legend, which stands beside the chart.
const LEGEND_GAP: i32 = 12;
/// Says under what load another metric was measured, and is no merit.
const CIRCUMSTANCE: &str = "offered under overload";

struct Row<'a> {
    label: String,
    metric: &'a Metric,
}

/// Draws what has a ratio.
pub(crate) fn draw(path: &Path, machine: &Machine, metrics: &[Metric]) -> Result<()> {
    let rows: Vec<_> = metrics
        .iter()
        .filter(|metric| metric.metric != CIRCUMSTANCE)
        .filter(|metric| metric.ratios.keys().any(|peer| advantage(metric, peer).is_some()))
        .map(|metric| Row { label: format!("{}: {}", metric.workload, describe(metric)), metric })
        .collect();
    ensure!(!rows.is_empty(), "there is no ratio to draw");
    // Every error of the library borrows from the drawing area.
    render(path, machine, &rows, &peers(metrics)).map_err(|error| anyhow!("{error}"))
}

fn render(
    path: &Path,
    machine: &Machine,
    rows: &[Row<'_>],
    peers: &[&str],
) -> Result<(), Box<dyn std::error::Error>> {
    let count = u32::try_from(rows.len())?;
    let root = SVGBackend::new(path, (WIDTH, count * ROW_HEIGHT + FRAME_HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("vpod ÷ peer, to the right: in vpod's favour", ("sans-serif", 20))?;
    let root = root.titled(&machine.line(), ("sans-serif", 12))?;
    let height = f64::from(count);
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .margin_right(LEGEND_WIDTH)
        .x_label_area_size(30)
        .y_label_area_size(LABEL_WIDTH)
        .build_cartesian_2d((1.0 / WIDEST..WIDEST).log_scale().base(2.0), 0.0..height)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .y_labels(0)
        .x_labels(11)
        .x_label_formatter(&|x| if *x < 1.0 { format!("1/{:.0}", 1.0 / x) } else { format!("{x:.0}") })
        .draw()?;
    let at = |index: usize| height - f64::from(u32::try_from(index).unwrap_or(u32::MAX)) - 0.5;
    let line = |y: f64| PathElement::new([(1.0 / WIDEST, y), (WIDEST, y)], BLACK.mix(0.1));
    chart.draw_series((0..rows.len()).map(|index| line(at(index))))?;
    chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, height)], BLACK)])?;
    for (index, row) in rows.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(1.0 / WIDEST, at(index)));
        let (left, top) = root.get_base_pixel();
        let style = TextStyle::from(("sans-serif", 12).into_font()).pos(Pos::new(HPos::Right, VPos::Center));
        root.draw_text(&row.label, &style, (x - left - 8, y - top))?;
    }
    for (number, peer) in peers.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        let dots = rows.iter().enumerate().filter_map(|(index, row)| {
            let advantage = advantage(row.metric, peer)?;
            Some(Circle::new((advantage, at(index)), DOT, color.filled()))
        });
        chart.draw_series(dots)?;
        // By hand: the library's own legend cannot stand beside the chart.
        let (right, top) = chart.backend_coord(&(WIDEST, at(0)));
        let (left_edge, top_edge) = root.get_base_pixel();
        let below = i32::try_from(number * ROW_HEIGHT as usize)?;
        let place = (right - left_edge + LEGEND_GAP, top - top_edge + below);
        root.draw(&Circle::new(place, DOT, color.filled()))?;
        let style = TextStyle::from(("sans-serif", 12).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw_text(peer, &style, (place.0 + LEGEND_GAP, place.1))?;
    }
    root.present()?;
    Ok(())
}

/// How many times better vpod is.
fn advantage(metric: &Metric, peer: &str) -> Option<f64> {
    let ratio = metric.ratios.get(peer).copied().filter(|ratio| *ratio > 0.0)?;
    let advantage = match metric.better {
        Better::Higher => ratio,
        Better::Lower => 1.0 / ratio,
    };
    Some(advantage.clamp(1.0 / WIDEST, WIDEST))
}
