//! What a finished run leaves: the masters as a plain checkpoint, the packed model, and its card.

use super::lead::Lead;
use super::opened::Run;
use super::settings::Settings;
use crate::backend::{Backend, block_on};
use crate::convert;
use crate::error::Result;
use crate::files::corpus::Corpus;
use crate::files::run::{Before, CARD, CURVES, Card, MODELS, Step};
use crate::files::{self, CopyFrom, ModelFolder, export};
use crate::model::{Dtype, Method, Recipe};
use crate::ops::quantize::Activations;
use crate::ranks::Ranks;
use crate::train::Event;
use crate::train::step::{Kind, Part, Trainer};
use std::collections::BTreeMap;
use std::path::Path;

/// A run that has made all its steps.
pub(super) struct Finished<'a, 'b, B: Backend> {
    pub backend: &'b B,
    pub run: &'a Run<'a>,
    pub base: &'a ModelFolder,
    /// The folder that everything is written to.
    pub lead: &'a Lead,
    pub trainer: &'a mut Trainer<&'b B>,
    pub steps: &'a [Step],
    /// Perplexities before the first step.
    pub before: &'a BTreeMap<String, Before>,
    pub corpus: &'a Corpus,
    pub events: &'a mut dyn FnMut(Event<'_>),
}

impl<B: Backend> Finished<'_, '_, B> {
    fn settings(&self) -> &Settings {
        &self.run.settings
    }
}

/// Writes `model` and `packed`, and returns their card.
pub(super) fn write<B: Backend>(run: &mut Finished<'_, '_, B>) -> Result<String> {
    let recipe = run.trainer.options().recipe;
    let [model, packed] = MODELS.map(|name| run.run.out.join(name));
    let text = card(run, recipe);
    masters(run, &model, recipe, &text)?;
    if recipe.method == Method::Full {
        return Ok(text);
    }
    // Rounding the masters anew would not give the scales that were learned.
    let layers = match run.trainer.options().learned_scales {
        true => block_on(run.backend, run.trainer.packed())?
            .into_iter()
            .collect(),
        false => BTreeMap::new(),
    };
    let opened = files::open(&model)?;
    let packing = convert::Job {
        opened: &opened,
        destination: run.lead.folder.destination(&packed),
        card: Some((CARD, &text)),
        recipe,
        layers,
        allow_nonfinite: false,
    };
    let made = packing.run(run.backend, &mut |_| {})?;
    if let Some(replaced) = &made.replaced {
        (run.events)(Event::Replaced(replaced));
    }
    Ok(text)
}

/// Gives the rank that leads what [`write`] asks for, in the same order.
pub(super) fn give<B: Backend>(
    ranks: &dyn Ranks,
    backend: &B,
    trainer: &Trainer<&B>,
) -> Result<()> {
    for (i, p) in trainer.parameters().iter().enumerate() {
        if p.kind != Kind::Scales {
            block_on(backend, trainer.read_among(ranks, Part::Master, i))?;
        }
    }
    Ok(())
}

/// The masters in f32, and the card beside them.
fn masters<B: Backend>(
    run: &mut Finished<'_, '_, B>,
    model: &Path,
    recipe: Recipe,
    card: &str,
) -> Result<()> {
    let original = CopyFrom {
        source: Some(&run.lead.carried),
        ..run.base.original()
    };
    let (shard, recipe) = (export::SHARD_BYTES, Some(&recipe));
    let to = run.lead.folder.destination(model);
    let mut writer = export::Writer::create(&to, original, recipe, Dtype::F32, shard)?;
    writer.file(CARD, card.as_bytes())?;
    for (i, p) in run.trainer.parameters().iter().enumerate() {
        if p.kind == Kind::Scales {
            continue;
        }
        let values = run.trainer.read_among(run.run.ranks, Part::Master, i);
        let values = block_on(run.backend, values)?.unwrap_or_default();
        writer.tensor(&p.name, &values)?;
    }
    if let Some(replaced) = &writer.finish()? {
        (run.events)(Event::Replaced(replaced));
    }
    Ok(())
}

/// The model's card.
fn card<B: Backend>(run: &Finished<'_, '_, B>, recipe: Recipe) -> String {
    let name = &run.run.out;
    let name = name.file_name().map(|n| n.to_string_lossy().into_owned());
    let base = run.settings().model.display().to_string();
    let method = recipe.to_string();
    let device = run.backend.name();
    let protocol = run.settings().eval_protocol;
    let protocol = protocol.words(run.trainer.options().length);
    let last = run.steps.last();
    let measured = run.steps.iter().rev().find(|s| !s.validation.is_empty());
    let perplexities = measured.map(|s| {
        let each = s.validation.iter();
        let before = |name| run.before.get(name).copied();
        each.map(|(name, p)| (name.clone(), before(name), *p))
            .collect()
    });
    let s = run.settings();
    let card = Card {
        name: name.as_deref().unwrap_or("model"),
        base: (!s.from_scratch).then_some(base.as_str()),
        method: &method,
        bits: bits(recipe),
        parameters: run.trainer.config().parameters() as u64,
        command: &run.run.command,
        settings: told(s),
        device: &device,
        steps: last.map_or(0, |s| s.step),
        tokens: last.map_or(0, |s| s.tokens),
        hours: last.map_or(0.0, |s| s.seconds / 3600.0),
        loss: last.map(|s| s.loss),
        perplexities: perplexities.unwrap_or_default(),
        protocol: &protocol,
        data: Some(run.corpus.manifest()),
        plot: Some(CURVES),
    };
    card.markdown()
}

/// Settings worth telling: the usual ones, and the others where they are not as they usually are.
fn told(s: &Settings) -> Vec<(String, String)> {
    let usual = Settings::default();
    let mut all = vec![
        ("learning rate", s.lr.to_string()),
        ("schedule", s.schedule.clone()),
        ("weight decay", s.weight_decay.to_string()),
        ("seed", s.seed.to_string()),
    ];
    let mut unless = |same: bool, name, value: String| {
        if !same {
            all.push((name, value));
        }
    };
    let (share, steps) = (s.distill, s.quant_warmup);
    unless(
        share == usual.distill,
        "teacher's share of the loss",
        share.to_string(),
    );
    unless(
        s.teacher == usual.teacher,
        "teacher",
        s.teacher.display().to_string(),
    );
    unless(
        steps == usual.quant_warmup,
        "steps until all is quantized",
        steps.to_string(),
    );
    unless(
        s.activations == usual.activations,
        "activations on the way forward",
        Activations::from(s.activations).to_string(),
    );
    unless(s.scales == usual.scales, "scales", "learned".to_owned());
    let (moments, masters) = (s.moments == usual.moments, s.masters == usual.masters);
    let bits = s.moments.bits();
    unless(moments, "moments", format!("{bits} bits"));
    unless(masters, "masters", "bf16".to_owned());
    unless(
        s.groups <= 1,
        "groups that gradients are summed in",
        s.groups.to_string(),
    );
    unless(
        s.nested == usual.nested,
        "steps with one stage",
        s.nested.to_string(),
    );
    all.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
}

/// Bits of a weight, scales aside.
fn bits(recipe: Recipe) -> f64 {
    match recipe.method {
        Method::Full => 32.0,
        Method::Binary => 1.0,
        Method::Ternary => 2.0,
        Method::Phase { stages } => stages as f64,
        // no training makes it
        Method::Mixed(stages) => stages.base() as f64,
    }
}
