//! Perplexities as a table and as JSON.

use crate::cli::out;
use crate::error::Result;
use crate::evaluate::{Difference, Divergence, Protocol, Summary};
use serde::Serialize;

/// One text under one model.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub model: String,
    pub method: String,
    pub stages: Option<usize>,
    pub activations: &'static str,
    pub file: String,
    pub name: String,
    pub protocol: Protocol,
    pub block: usize,
    pub stride: Option<usize>,
    pub windows: usize,
    #[serde(flatten)]
    pub summary: Summary,
    /// Against the first model, where both scored the same tokens; null for the first one.
    pub difference: Option<Difference>,
    /// From the reference; null without one.
    pub divergence: Option<Divergence>,
    /// Of scoring; compiling kernels is in it, loading is not.
    pub seconds: f64,
    /// Tokens that went through the model in that time.
    pub tokens_per_second: f64,
}

/// Prints the rows for people.
pub(super) fn print(rows: &[Row], device: &str) -> Result<()> {
    let mut table = Table::default();
    table.columns(rows);
    let mut text = out::table(&table.header, &table.rows);
    let (words, block) = rows.first().map_or((String::new(), 0), |row| {
        (row.protocol.words(row.block), row.block)
    });
    let uneven = rows.iter().any(|row| row.block != block);
    text.push_str(&format!("\n{words}\n"));
    if uneven {
        text.push_str("Models have windows of different lengths.\n");
    }
    text.push_str(&format!("{device}\n"));
    out::print(&text)?;
    distances(rows)
}

#[derive(Default)]
struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn add(&mut self, header: &'static str, rows: &[Row], cell: impl Fn(&Row) -> String) {
        self.header.push(header);
        self.rows.resize(rows.len(), Vec::new());
        for (row, cells) in rows.iter().zip(&mut self.rows) {
            cells.push(cell(row));
        }
    }

    fn columns(&mut self, rows: &[Row]) {
        self.add("model", rows, |r| r.model.clone());
        self.add("layers", rows, |r| r.method.clone());
        self.add("activations", rows, |r| r.activations.to_owned());
        self.add("text", rows, |r| r.name.clone());
        self.add("tokens", rows, |r| r.summary.tokens.to_string());
        self.add("perplexity", rows, |r| format!("{:.4}", r.summary.ppl));
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.4}"));
        self.add("+-", rows, |r| optional(r.summary.ppl_standard_error));
        self.add("bits/byte", rows, |r| {
            format!("{:.4}", r.summary.bits_per_byte)
        });
        if rows.iter().any(|r| r.difference.is_some()) {
            let loss = |d: Difference| {
                let star = if d.significant { " *" } else { "  " };
                format!("{:+.4} +- {:.4}{star}", d.mean_nll, d.standard_error)
            };
            self.add("loss against the first", rows, |r| {
                r.difference.map_or("-".to_owned(), loss)
            });
        }
        if rows.iter().any(|r| r.divergence.is_some()) {
            let of = |r: &Row, f: &dyn Fn(&Divergence) -> String| {
                r.divergence.as_ref().map_or("-".to_owned(), f)
            };
            self.add("KL divergence", rows, |r| {
                of(r, &|d| format!("{:.5}", d.mean))
            });
            self.add("same top token", rows, |r| {
                of(r, &|d| format!("{:.2} %", 100.0 * d.top1_agreement))
            });
        }
    }
}

/// The divergence of each row in full, in llama.cpp's terms.
fn distances(rows: &[Row]) -> Result<()> {
    for row in rows {
        let Some(d) = &row.divergence else { continue };
        let error = |e: Option<f64>| e.map_or(String::new(), |e| format!(" +- {e:.6}"));
        let percentiles: Vec<_> = d
            .percentiles
            .iter()
            .map(|(p, nats)| format!("{p} %: {nats:.5}"))
            .collect();
        out::print(&format!(
            "\n{}, {}, {}\n  perplexity of the reference  {:.4}\n  ln(ppl / reference)          {:+.6}{}\n  mean KL divergence           \
             {:.6}{}\n  percentiles                  {}, max: {:.4}\n  change of p(token)           mean {:+.3} %, rms {:.3} %\n  same top \
             token               {:.3} %{}\n",
            row.model,
            row.method,
            row.name,
            d.reference_ppl,
            d.ln_ppl_ratio,
            error(d.ln_ppl_ratio_standard_error),
            d.mean,
            error(d.standard_error),
            percentiles.join(", "),
            d.max,
            100.0 * d.mean_delta_p,
            100.0 * d.rms_delta_p,
            100.0 * d.top1_agreement,
            error(d.top1_standard_error.map(|e| 100.0 * e)),
        ))?;
    }
    Ok(())
}
