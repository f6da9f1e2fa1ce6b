//! In a browser: what JavaScript calls, inside the worker that owns the device.
//!
//! `package/` holds the module around it, which people import, and `page/` the page, which is built of that module alone;
//! `tools/web.sh` puts both together. Options and results cross the border as JSON, files as blobs.
//!
//! A worker has one [`Engine`] and one model as long as it lives; its memory goes with it.

mod files;
mod options;

use crate::backend::{AdapterSummary, Backend, self_test};
use crate::error::{Error, Result, one_line};
use crate::files::chat_template::ChatInput;
use crate::generate::{Chat, Generator, Model, ModelFiles, Prompt};
use crate::{Device, DeviceChoice, DeviceOptions, units};
use js_sys::{Array, Function, Promise};
use options::{Asked, LoadOptions, OpenOptions, TextOptions, parse};
use serde_json::{Value, json};
use std::cell::{OnceCell, RefCell};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

/// What JavaScript gets: an `Error` whose `code` is the program's exit code.
fn thrown(error: &Error) -> JsValue {
    let thrown = js_sys::Error::new(&one_line(&error.to_string()));
    // setting a field of a plain object does not fail
    let _ = js_sys::Reflect::set(&thrown, &"code".into(), &error.exit_code().into());
    thrown.into()
}

/// What JavaScript threw, as an error of ours.
fn failed(doing: &str, thrown: &JsValue) -> Error {
    let text = thrown.dyn_ref::<js_sys::Error>().map_or_else(
        || format!("{thrown:?}"),
        |error| String::from(error.message()),
    );
    Error::usage(format!("{doing}: {}", one_line(&text)), "try again")
}

/// Keeps the words of a panic where `errors.js` finds them: what JavaScript gets of it is `unreachable`.
#[wasm_bindgen(start)]
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let words = one_line(&panic.to_string());
        let _ = js_sys::Reflect::set(&js_sys::global(), &"fairy2iPanic".into(), &words.into());
    }));
}

/// A device and the model on it.
#[wasm_bindgen]
pub struct Engine {
    device: Device,
    /// Why better devices were passed over.
    passed_over: Vec<String>,
    model: OnceCell<&'static Model>,
    /// The conversation so far; a text that is generated takes it out.
    chat: RefCell<Option<Chat<'static>>>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device: `options` are those of [`OpenOptions`].
    ///
    /// # Errors
    /// As [`Device::open_async`].
    pub async fn open(options: String) -> Result<Engine, JsValue> {
        opened(&options).await.map_err(|error| thrown(&error))
    }

    /// The facts of the device, as JSON.
    pub fn facts(&self) -> String {
        let facts = self.device.facts();
        let adapter = self.device.adapter().map(described);
        json!({
            "backend": if self.device.is_cpu() { "cpu" } else { "webgpu" },
            "name": facts.name,
            "passedOver": self.passed_over,
            "adapter": adapter,
            "simd": cfg!(target_feature = "simd128"),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string()
    }

    /// Loads a model: `files` is an array of `[name, blob]`, empty for the model inside; `options` are those of
    /// [`LoadOptions`]. `progress` hears the name of each layer that is ready, and how many there are.
    ///
    /// # Errors
    /// As [`Model::from_bytes`] and [`ModelFiles::load_async`].
    pub async fn load(
        &self,
        name: String,
        files: Array,
        options: String,
        progress: Function,
    ) -> Result<String, JsValue> {
        let loaded = self.loaded(&name, &files, &options, &progress).await;
        loaded.map_err(|error| thrown(&error))
    }

    /// Generates a text: `options` are those of [`TextOptions`]. `heard` is called with the id and the text of each piece; it
    /// ends the text by giving `true`, or a promise of it. Gives why the text ended and how long it took.
    ///
    /// # Errors
    /// As [`Model::generate_async`] and [`Chat::answer_async`].
    pub async fn generate(&self, options: String, heard: Function) -> Result<String, JsValue> {
        let generated = self.generated(&options, &heard).await;
        generated.map_err(|error| thrown(&error))
    }

    /// Runs every op's cases, if the device was opened to be checked; `heard` gets a row of the table for each, as JSON.
    ///
    /// # Errors
    /// None: what fails is in the table.
    pub async fn check(&self, heard: Function) -> Result<(), JsValue> {
        let on_host = self.device.is_cpu();
        let mut tell = |tested: crate::backend::Tested| {
            let row = json!({
                "op": tested.op,
                "kernel": if on_host { Some("host") } else { tested.kernel },
                "promised": format!("{:?}", tested.agree),
                "cases": tested.cases,
                "runs": tested.runs,
                "failure": tested.result.err().map(|error| one_line(&error.to_string())),
            });
            let told = heard.call1(&JsValue::NULL, &row.to_string().into());
            told.map_err(|error| failed("telling of an op", &error))?;
            Ok(())
        };
        let walked = self_test(&self.device, &mut tell).await;
        walked.map_err(|error| thrown(&error))
    }
}

async fn opened(options: &str) -> Result<Engine> {
    let options: OpenOptions = parse("the options of the device", options)?;
    let Ok(choice) = options.device.parse::<DeviceChoice>();
    let device = DeviceOptions {
        check: options.check,
        gpu: options.gpu(),
        ..DeviceOptions::default()
    };
    let mut passed_over = Vec::new();
    let mut pass = |error: &Error| passed_over.push(one_line(&error.to_string()));
    let device = Device::open_async(&choice, &device, &mut pass).await?;
    Ok(Engine {
        device,
        passed_over,
        model: OnceCell::new(),
        chat: RefCell::default(),
    })
}

/// An adapter as the page shows it.
fn described(adapter: &AdapterSummary) -> Value {
    let features = adapter.features;
    let features = [
        ("subgroups", features.subgroup),
        ("f16", features.f16),
        ("64-bit integers", features.int64),
        ("16-bit integers", features.int16),
    ];
    let features = features.into_iter().filter(|(_, has)| *has);
    json!({
        "name": adapter.name,
        "software": adapter.software,
        "features": features.map(|(name, _)| name).collect::<Vec<_>>(),
        "binding": units::memory(adapter.max_binding),
        "buffer": units::memory(adapter.max_buffer),
        "workgroupMemory": units::memory(u64::from(adapter.workgroup_memory)),
        "invocations": adapter.invocations,
        "subgroupSize": adapter.subgroup_size,
    })
}

impl Engine {
    async fn loaded(
        &self,
        name: &str,
        files: &Array,
        options: &str,
        progress: &Function,
    ) -> Result<String> {
        let options: LoadOptions = parse("the options of the model", options)?;
        let options = options.options()?;
        let files = match files.length() {
            0 => Model::builtin()?,
            _ => Model::from_bytes(name, files::files(files)?)?,
        };
        let description = describe_model(name, &files);
        let layers = files.config().linears().len();
        let mut tell = |layer: &str| {
            // a page that has gone needs no progress
            let _ = progress.call2(&JsValue::NULL, &layer.into(), &(layers as u32).into());
        };
        let model = files.load_async(&self.device, options, &mut tell).await?;
        let mut description = description;
        description["context"] = model.inner().options().context.into();
        // It lives as long as its worker.
        let model: &'static Model = Box::leak(Box::new(model));
        if self.model.set(model).is_err() {
            return Err(Error::usage("a second model", "open another worker for it"));
        }
        Ok(description.to_string())
    }

    async fn generated(&self, options: &str, heard: &Function) -> Result<String> {
        let options: TextOptions = parse("the options of the text", options)?;
        let model = *self
            .model
            .get()
            .ok_or_else(|| Error::usage("no model is loaded", "load one first"))?;
        let how = options.generate()?;
        match options.asked()? {
            Asked::Text(text) => {
                let mut text = model.generate_async(Prompt::from(text), how).await?;
                hear(&mut text, heard).await
            }
            Asked::Messages(messages) => {
                let mut chat = match self.chat.take() {
                    Some(chat) => chat,
                    None => model.chat()?,
                };
                let input = ChatInput {
                    messages,
                    add_generation_prompt: true,
                    ..ChatInput::default()
                };
                let mut answer = chat.answer_async(&input, how).await?;
                let summary = hear(&mut answer, heard).await;
                chat.keep(answer);
                self.chat.replace(Some(chat));
                summary
            }
        }
    }
}

/// Hands out the pieces of a text until it ends or nobody wants more.
async fn hear(text: &mut Generator<'_>, heard: &Function) -> Result<String> {
    let mut stopped = false;
    while let Some(piece) = text.next_piece().await? {
        let (id, new) = (piece.id.into(), piece.text.into());
        let answer = heard.call2(&JsValue::NULL, &id, &new);
        let answer = match answer.map(JsCast::dyn_into::<Promise>) {
            Ok(Ok(promise)) => JsFuture::from(promise).await,
            Ok(Err(value)) => Ok(value),
            Err(error) => Err(error),
        };
        if answer
            .map_err(|error| failed("handing out text", &error))?
            .is_truthy()
        {
            stopped = text.finish().is_none();
            break;
        }
    }
    let times = text.timings();
    Ok(json!({
        "finish": if stopped { json!("stopped") } else { json!(text.finish()) },
        "ids": text.ids(),
        "promptTokens": times.prompt_tokens,
        "cachedTokens": times.cached_tokens,
        "newTokens": times.new_tokens,
        "prepareSeconds": times.prepare.as_secs_f64(),
        "firstTokenSeconds": times.first_token.as_secs_f64(),
        "tokensPerSecond": times.decode_tokens_per_second(),
    })
    .to_string())
}

/// What a model is, as the page shows it.
fn describe_model(name: &str, files: &ModelFiles) -> Value {
    json!({
        "name": name,
        "parameters": units::scaled(files.config().parameters() as f64, ""),
        "recipe": files.recipe().map(|recipe| recipe.to_string()),
        "chat": files.chat_template().is_some(),
        "notes": files.notes(),
    })
}
