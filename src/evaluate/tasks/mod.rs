//! Multiple-choice tasks by log-likelihood, and last words: prompts and scores as EleutherAI's lm-evaluation-harness has
//! them (version 0.4.13: the tasks `arc_easy`, `arc_challenge`, `hellaswag`, `piqa`, `winogrande`, `boolq`, `openbookqa`,
//! `lambada_openai`).
//!
//! A row of a file becomes a [`Question`] by its columns ([`forms`]), its requests become tokens ([`encode`]), the model
//! scores them, and [`Answers`] counts. Prefixes that neighbouring requests share go through the model once.

pub mod encode;
mod fewshot;
pub mod forms;
mod run;
mod score;

pub use encode::{Encoded, Request};
pub use fewshot::{Shots, with_examples};
pub use forms::{Form, Question};
pub use run::{longest, run};
pub use score::{Answer, Answers, Likelihood, TaskSummary};
