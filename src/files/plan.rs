//! Which tensors a model has, by name, shape and type: one list that the readers check against and the writers
//! lay files out by.

use super::halves::Halves;
use crate::model::blueprint::WeightShape;
use crate::model::{Config, Dtype, Form, Method, Packed, Recipe};

/// A tensor that a folder must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// What it is, which decides the element types it may have.
    pub role: Role,
    /// How the halves lie together that files hold apart, if they do.
    pub halves: Option<Halves>,
}

impl Planned {
    /// Names and shapes of what files hold: the tensor, or its halves.
    pub fn stored(&self) -> Vec<(String, Vec<usize>)> {
        match self.halves {
            None => vec![(self.name.clone(), self.shape.clone())],
            Some(halves) => {
                let shape = halves.shape(&self.shape);
                let names = halves.names(&self.name).into_iter();
                names.map(|name| (name, shape.clone())).collect()
            }
        }
    }
}

/// What a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Embedding, router or dense linear layer: F32, F16 or BF16.
    Dense,
    /// Norm or bias: F32, F16 or BF16.
    Norm,
    /// Packed codes: U32.
    Codes,
    /// Their scales: F32.
    Scales,
}

impl Role {
    /// Element types it may have.
    pub fn dtypes(self) -> &'static [Dtype] {
        match self {
            Self::Dense | Self::Norm => &[Dtype::F32, Dtype::F16, Dtype::BF16],
            Self::Codes => &[Dtype::U32],
            Self::Scales => &[Dtype::F32],
        }
    }
}

/// All tensors of a model of shape `config`, its linear layers stored as `recipe` says, in forward
/// order: a file is read from front to back.
pub fn plan(config: &Config, recipe: Option<&Recipe>) -> Vec<Planned> {
    let complex = config.blueprint().complex;
    let tensor = |name: String, shape, role, halves: Option<Halves>| Planned {
        name,
        shape,
        role,
        halves: halves.filter(|_| complex),
    };
    let mut all = vec![tensor(
        config.embed_name(),
        vec![config.vocab, config.hidden],
        Role::Dense,
        Some(Halves::Beside),
    )];
    for weight in config.weights() {
        let linear = match weight {
            WeightShape::Linear(linear) => linear,
            WeightShape::Router { name, shape } => {
                all.push(tensor(name, shape.to_vec(), Role::Dense, None));
                continue;
            }
            WeightShape::Norm { name, width } | WeightShape::Bias { name, width } => {
                all.push(tensor(name, vec![width], Role::Norm, Some(Halves::Below)));
                continue;
            }
        };
        let (rows, columns) = (linear.out_features, linear.in_features);
        let halves = Some(Halves::Below).filter(|_| linear.form == Form::Conjugate);
        let stored_columns = linear.columns();
        let prefix = linear.prefix;
        match stored(config, recipe, &prefix) {
            Stored::Nowhere => {}
            Stored::Dense => all.push(tensor(
                format!("{prefix}.weight"),
                vec![rows, stored_columns],
                Role::Dense,
                halves,
            )),
            Stored::Packed(recipe) => {
                let method = recipe.method.of(&prefix);
                let (codes, scales) =
                    Packed::shapes(method, linear.form, recipe.granularity, rows, columns);
                all.push(tensor(format!("{prefix}.codes"), codes, Role::Codes, None));
                all.push(tensor(
                    format!("{prefix}.scales"),
                    scales,
                    Role::Scales,
                    None,
                ));
            }
        }
    }
    all
}

/// How a linear layer lies in the files.
enum Stored {
    /// It is the embedding matrix.
    Nowhere,
    Dense,
    Packed(Recipe),
}

fn stored(config: &Config, recipe: Option<&Recipe>, prefix: &str) -> Stored {
    let head = prefix == Config::HEAD;
    match recipe.filter(|r| r.method != Method::Full) {
        Some(recipe) if !(head && recipe.skip_head) => Stored::Packed(*recipe),
        _ if head && config.tied => Stored::Nowhere,
        _ => Stored::Dense,
    }
}

/// Whether `name` is a buffer that checkpoints hold though every program computes it from the configuration: nobody
/// needs it, wherever it is or is not.
pub fn is_buffer(name: &str) -> bool {
    const ROTARY: [&str; 4] = ["inv_freq", "original_inv_freq", "cos_cached", "sin_cached"];
    let is = |path: &str| name == path || name.ends_with(&format!(".{path}"));
    is("rope.freqs") || ROTARY.iter().any(|last| is(&format!("rotary_emb.{last}")))
}

/// Whether the head is packed in a folder of this recipe, tied or not.
pub fn packs_head(recipe: Option<&Recipe>) -> bool {
    recipe.is_some_and(|recipe| recipe.method != Method::Full && !recipe.skip_head)
}
