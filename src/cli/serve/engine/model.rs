//! The engine that is a model on a device.

use super::{Build, Engine, Serving, Status};
use crate::backend::{Backend, Device, block_on};
use crate::cli::serve::args::EngineArgs;
use crate::cli::serve::facts::Facts;
use crate::cli::serve::limits;
use crate::cli::{device, source};
use crate::error::Result;
use crate::generate::scheduler::{Event, Refused, Request, RequestId, Scheduler, SchedulerOptions};
use crate::generate::{ModelFiles, Options};

/// A model that is loaded as the options say, as often as is needed.
pub(in crate::cli::serve) struct Loading {
    pub args: EngineArgs,
    /// The name of the model in requests and answers.
    pub id: String,
}

impl Build for Loading {
    fn build(&mut self, serve: &mut Serving<'_>) -> Result<()> {
        let args = &self.args;
        let opened = source::open(args.model.model.as_deref())?;
        let recipe = source::recipe(&opened, &args.recipe)?;
        let files = ModelFiles::from(opened);
        let waiting = args.max_waiting as usize;
        let mut facts = Facts::of(&files, self.id.clone(), waiting.min(limits::CHOICES))?;
        let device = device::open(&args.device)?;
        let context = args.ctx_size.map(|context| context as usize);
        let options = Options {
            recipe: Some(recipe),
            activations: args.activations.into(),
            context: context.map(|context| context.min(files.config().context)),
            batch: args.batch.at_once().max(args.parallel.into()),
            kv: args.paths.kv.into(),
            swa_full: args.paths.swa_full,
            exact: args.paths.exact,
            allow_nonfinite: args.recipe.allow_nonfinite,
            ..Options::default()
        };
        let model = device::load(files, &device, options, None, true)?;
        let options = SchedulerOptions {
            parallel: args.parallel.into(),
            context,
            most_waiting: waiting,
            lookup: args.lookup.into(),
            ..SchedulerOptions::default()
        };
        let scheduler = block_on(&device, Scheduler::new(&model, options))?;
        facts.bounds.context = scheduler.context();
        facts.recipe = model.recipe().to_string();
        facts.device = device.name();
        let mut running = Running {
            scheduler,
            device: &device,
        };
        serve(facts, &mut running)?;
        device::report_check(&device);
        Ok(())
    }
}

struct Running<'m> {
    scheduler: Scheduler<'m>,
    device: &'m Device,
}

impl Engine for Running<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<RequestId, Refused> {
        self.scheduler.submit(request)
    }

    fn cancel(&mut self, id: RequestId) {
        self.scheduler.cancel(id);
    }

    fn step(&mut self, events: &mut Vec<(RequestId, Event)>) -> Result<()> {
        block_on(self.device, self.scheduler.step(events))
    }

    fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    fn status(&self) -> Status {
        Status {
            waiting: self.scheduler.waiting(),
            slots: self.scheduler.slots(),
            counters: self.scheduler.counters(),
        }
    }
}
