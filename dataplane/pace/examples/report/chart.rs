//! Lines over time as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 50.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 34.0;

pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) seconds: f64,
    /// One below the other, over the same time.
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Panel {
    name: &'static str,
    lines: Vec<Line>,
    mark: Option<(&'static str, f64)>,
}

struct Line {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

impl Panel {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            lines: Vec::new(),
            mark: None,
        }
    }

    pub(crate) fn line(mut self, name: &'static str, colour: &'static str, points: Vec<(f64, f64)>) -> Self {
        self.lines.push(Line { name, colour, points });
        self
    }

    /// A dashed line across.
    pub(crate) fn mark(mut self, name: &'static str, value: f64) -> Self {
        self.mark = Some((name, value));
        self
    }

    fn highest(&self) -> f64 {
        let values = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|point| point.1));
        let highest = values.chain(self.mark.map(|mark| mark.1)).fold(1.0, f64::max);
        round_up(highest)
    }
}

/// The next 1, 2, 4, 6, 8 or 10 times a power of ten, so that half of it is a number that people like too.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

impl Chart<'_> {
    pub(crate) fn svg(&self) -> String {
        let height = TOP + self.panels.len() as f64 * (PANEL + GAP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
            self.title
        );
        for (place, panel) in self.panels.iter().enumerate() {
            self.panel(&mut svg, panel, TOP + place as f64 * (PANEL + GAP));
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn panel(&self, svg: &mut String, panel: &Panel, top: f64) {
        let highest = panel.highest();
        let (right, bottom) = (WIDTH - RIGHT, top + PANEL);
        let x = |seconds: f64| LEFT + seconds / self.seconds * (right - LEFT);
        let y = |value: f64| bottom - value / highest * PANEL;
        for part in [0.0, 0.5, 1.0] {
            let (value, at) = (highest * part, y(highest * part));
            draw(
                svg,
                format_args!("<line x1=\"{LEFT}\" y1=\"{at}\" x2=\"{right}\" y2=\"{at}\" stroke=\"#ddd\"/>"),
            );
            draw(
                svg,
                format_args!(
                    "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value}</text>",
                    LEFT - 6.0,
                    at + 4.0
                ),
            );
        }
        for part in 0..=6 {
            let seconds = self.seconds * f64::from(part) / 6.0;
            draw(
                svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{seconds:.0} s</text>",
                    x(seconds),
                    bottom + 16.0
                ),
            );
        }
        draw(
            svg,
            format_args!(
                "<text x=\"{}\" y=\"{}\" fill=\"#666\">{}</text>",
                LEFT,
                top - 5.0,
                panel.name
            ),
        );
        if let Some((name, value)) = panel.mark {
            let at = y(value);
            draw(
                svg,
                format_args!(
                    "<line x1=\"{LEFT}\" y1=\"{at}\" x2=\"{right}\" y2=\"{at}\" stroke=\"#999\" stroke-dasharray=\"5 4\"/>\
                     <text x=\"{}\" y=\"{}\" fill=\"#999\">{name}</text>",
                    right + 8.0,
                    at + 4.0
                ),
            );
        }
        for (place, line) in panel.lines.iter().enumerate() {
            let mut points = String::new();
            for (seconds, value) in &line.points {
                write!(points, "{:.1},{:.1} ", x(*seconds), y(*value)).expect("a String takes it");
            }
            let (colour, name) = (line.colour, line.name);
            let legend = bottom - 8.0 - 18.0 * place as f64;
            draw(
                svg,
                format_args!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>\
                     <text x=\"{}\" y=\"{legend}\" fill=\"{colour}\">{name}</text>",
                    points.trim_end(),
                    right + 8.0
                ),
            );
        }
    }
}

fn draw(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("a String takes it");
}
