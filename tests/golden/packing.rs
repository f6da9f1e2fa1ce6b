//! The papers' blocks for training and for perplexity, id by id.

use super::Report;
use fairy2i_gpu::files::corpus::packing::{Packer, Packing, evaluation, labels};
use serde_json::Value;

fn rows<T: for<'de> serde::Deserialize<'de>>(value: &Value) -> Vec<Vec<T>> {
    serde_json::from_value(value.clone()).expect("rows of numbers")
}

pub fn judge(fixture: &Value) -> Report {
    let number = |name: &str| fixture[name].as_u64().expect("a number") as u32;
    let (bos, eos, block) = (number("bos"), number("eos"), number("block") as usize);
    let documents: Vec<Vec<u32>> = rows(&fixture["documents"]);
    let mut blocks: Vec<Vec<u32>> = Vec::new();
    let mut full = |ids: &[u32]| -> Result<(), ()> {
        blocks.push(ids.to_vec());
        Ok(())
    };
    let mut packer = Packer::new(Packing::Papers { batch: 1000 }, block, eos);
    for document in &documents {
        let text = &document[1..document.len() - 1]; // as tokenized without specials
        packer.push(text, &mut full).expect("nothing fails here");
        packer.end(&mut full).expect("nothing fails here");
    }
    packer.finish();
    let mut report = Report::default();
    let want: Vec<Vec<u32>> = rows(&fixture["train"]["input_ids"]);
    report.check(blocks == want, || {
        format!("{} training blocks, not as the papers'", blocks.len())
    });
    let want: Vec<Vec<i32>> = rows(&fixture["train"]["labels"]);
    let masked: Vec<Vec<i32>> = blocks.iter().map(|b| labels(b, Some(bos), eos)).collect();
    report.check(masked == want, || "labels differ".to_owned());
    let wanted: Vec<Vec<u32>> = rows(&fixture["evaluation"]);
    let got = evaluation(documents.iter().map(|d| &d[1..]), bos, block);
    report.check(got == wanted, || {
        format!("{} evaluation blocks, not as the papers'", got.len())
    });
    report
}
